"""`stepwell.toml`: what the operator decides."""

import dataclasses
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetPydanticSchema,
    ValidationError,
    create_model,
)
from pydantic_core import CoreSchema, core_schema

from stepwell.errors import ConfigError
from stepwell.model.durability import Durability
from stepwell.model.requirements import read_requirement
from stepwell.model.sizes import MIB, read_size
from stepwell.packages import PackagePolicy
from stepwell.ports import KeyPlace, Limits
from stepwell.ports.limits import LEAST, MAX_LIMIT, MOST, ArtifactLimits
from stepwell.search.loading import SearchOptions
from stepwell.search.models import PRESETS, find_model, list_names
from stepwell.tools import (
    DoubtRule,
    SecretRule,
    ToolRules,
)
from stepwell.tools.messages import clean
from stepwell.tools.mistakes import find_line, list_mistakes
from stepwell_server.home import find_models_folder
from stepwell_server.model_sections import AgentName, AgentSection, ModelSettings
from stepwell_server.policy_settings import (
    Duration,
    HttpSettings,
    PolicySettings,
    Secret,
    SecretName,
    ToolPattern,
)
from stepwell_server.secret_places import list_misplaced
from stepwell_server.toml_lines import find_lines
from stepwell_server.tool_settings import McpServerSettings, OpenApiSettings, PythonSettings, ServerName, read_key_place

MAX_FILE_BYTES = 256 * 1024
MAX_ASK_S = 3.2e9  # a hundred years


def _read_doubt(value: Any) -> DoubtRule:
    if value in ("ask", "retry", "fail"):
        return DoubtRule(value)
    if isinstance(value, dict) and list(value) == ["ask_s"]:  # pyright: ignore[reportUnknownArgumentType]
        seconds: Any = value["ask_s"]
        if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 < seconds < MAX_ASK_S:
            return DoubtRule("ask", float(seconds))
    raise ValueError('write "ask", "retry", "fail", or { ask_s = 86400 } to ask for so many seconds and then fail')


def _read_size(value: Any) -> Any:
    return read_size(value) if isinstance(value, str) else value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SandboxSettings(_Section):
    """How runs are isolated."""

    minimum: Literal["A", "A2", "B", "C"] = "B"
    """The weakest level at which a run may start."""
    pool: Annotated[int, Field(ge=0, le=64)] = 4
    """Confined processes kept ready."""


class WorkerSettings(_Section):
    """How much this process does at one time."""

    concurrency: Annotated[int, Field(ge=1, le=1024)] = 8
    """Runs."""
    memory_bytes: Annotated[int | None, BeforeValidator(_read_size), Field(ge=64 * MIB, lt=MAX_LIMIT)] = None
    """For all live runs of a process, such as "8 GiB"; three quarters of what is available unless given."""
    durability: Durability = "group"
    """`step`: every step's result is on disk before its workflow goes on."""
    models: dict[str, str] = {}
    """Models that this home's workers ask in place of others; `default` is the default one."""


def _limit_type(limit: dataclasses.Field[Any]) -> Any:
    bounds = Field(gt=0, lt=MAX_LIMIT, ge=LEAST.get(limit.name), le=MOST.get(limit.name))
    text = (BeforeValidator(_read_size),) if limit.name.endswith("_bytes") else ()
    return Annotated[limit.type, *text, bounds]


# Made from `Limits`, so that the two cannot drift apart.
_limit_fields: dict[str, Any] = {
    limit.name: (_limit_type(limit), limit.default) for limit in dataclasses.fields(Limits)
}
_LimitsSection = create_model("_LimitsSection", __base__=_Section, **_limit_fields)


def _limits_schema(_source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    shown = core_schema.plain_serializer_function_ser_schema(dataclasses.asdict)
    return core_schema.no_info_after_validator_function(_to_limits, handler(_LimitsSection), serialization=shown)


def _to_limits(section: BaseModel) -> Limits:
    return Limits(**section.model_dump())


Bytes = Annotated[int, BeforeValidator(_read_size), Field(gt=0, lt=MAX_LIMIT)]


class ArtifactSettings(_Section):
    """How much may be kept as artifacts; sizes as numbers or text such as "16 MiB"."""

    max_bytes: Bytes = ArtifactLimits().each
    """Of one."""
    run_bytes: Bytes = ArtifactLimits().run
    """Of one run together."""
    home_bytes: Bytes | None = None
    """Of all runs together; no bound unless given."""

    def limits(self) -> ArtifactLimits:
        """Return it as the library has it."""
        return ArtifactLimits(self.max_bytes, self.run_bytes, self.home_bytes)


class RetentionSettings(_Section):
    """What is deleted by itself."""

    ended_after: Duration | None = None
    """Runs that ended so long ago, such as "30d"; nothing unless given."""


def _check_allowed(text: str) -> str:
    found = read_requirement(text)
    if found.extras or found.marker:
        raise ValueError(f'"{text}": write a name with bounds on its version, such as "numpy>=2,<3"')
    return text


class PackageSettings(_Section):
    """Third-party packages that workflows may declare."""

    allow: Annotated[tuple[Annotated[str, AfterValidator(_check_allowed)], ...], Field(strict=False)] = ()
    """Names with bounds, such as "numpy>=2,<3"; nothing is installed that is not listed."""
    transitive: bool = False
    """Whether what a listed package needs is allowed with it."""
    max_mib: Annotated[int, Field(ge=1, le=65536)] = 1024
    """Of the packages of one workflow, unpacked."""

    def policy(self) -> PackagePolicy:
        """Return it as the library has it."""
        return PackagePolicy(tuple(map(read_requirement, self.allow)), self.transitive, self.max_mib * 1024 * 1024)


def _check_model(name: str) -> str:
    if name != "none" and find_model(name) is None:
        raise ValueError(f'"{name}" is no model; write "none", {", ".join(PRESETS)}, or: {", ".join(list_names())}')
    return name


class SearchSettings(_Section):
    """How workflows and tools are found."""

    model: Annotated[str, AfterValidator(_check_model)] = "default"
    """A preset, a model's name, or "none": by words only."""
    path: str | None = None
    """A folder with the model, instead of the cache."""
    cache: str | None = None
    """Where models are kept; the platform's cache folder unless given."""
    offline: bool = False
    """Fetch no model."""
    learn: bool = True
    """Keep the requests whose search led to a run that completed, as further examples of what a workflow is for."""

    def options(self) -> SearchOptions:
        """Return it as the library has it."""
        path = Path(self.path).expanduser() if self.path else None
        cache = Path(self.cache).expanduser() if self.cache else find_models_folder()
        return SearchOptions(self.model, path, cache, self.offline, self.learn)


class Settings(_Section):
    """Everything in `stepwell.toml`."""

    models: ModelSettings = ModelSettings()
    agents: dict[AgentName, AgentSection] = {}

    http: HttpSettings = HttpSettings()
    policy: PolicySettings = PolicySettings()
    limits: Annotated[Limits, GetPydanticSchema(_limits_schema)] = Limits()
    artifacts: ArtifactSettings = ArtifactSettings()
    sandbox: SandboxSettings = SandboxSettings()
    workers: WorkerSettings = WorkerSettings()
    retention: RetentionSettings = RetentionSettings()
    packages: PackageSettings = PackageSettings()
    mcp_servers: dict[ServerName, McpServerSettings] = {}
    search: SearchSettings = SearchSettings()
    openapi: dict[ServerName, OpenApiSettings] = {}
    python: dict[ServerName, PythonSettings] = {}
    idempotency: dict[ToolPattern, Annotated[KeyPlace, BeforeValidator(read_key_place)]] = {}
    """Where tools take the idempotency key. Patterns over dotted names; the last one that matches counts."""
    in_doubt: dict[ToolPattern, Annotated[DoubtRule, BeforeValidator(_read_doubt)]] = {}
    """What becomes of calls whose answer was lost. Patterns over dotted names; the last one that matches counts."""

    secrets: dict[SecretName, Secret] = {}

    def tool_rules(self) -> ToolRules:
        """Return the rules over tools as the library has them."""
        policy = self.policy
        return ToolRules(
            policy.tools,
            self.in_doubt,
            self.idempotency,
            workflows={name: rules.tools for name, rules in policy.workflows.items()},
            approvals=policy.approvals,
            workflow_approvals={name: rules.approvals for name, rules in policy.workflows.items() if rules.approvals},
            dynamic=policy.dynamic_tools,
            unlisted=self.http.unlisted,
            limits={name: limit.limit() for name, limit in policy.limits.items()},
            ask_s=policy.ask_for,
            use_s=policy.use_within,
        )

    def secret_rules(self, home: Path) -> dict[str, SecretRule]:
        """Return the secrets as the library has them."""
        return {name: secret.rule(home) for name, secret in self.secrets.items()}


def load_settings(path: Path) -> Settings:
    """Read the file; a missing one gives the defaults.

    Raises:
        ConfigError: it cannot be read or is wrong; the message names every mistake with its line.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{path} is longer than {MAX_FILE_BYTES} bytes")
    try:
        return parse_settings(data.decode("utf-8"), str(path))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}: line {line}: not UTF-8 text") from error


def parse_settings(text: str, source: str = "stepwell.toml") -> Settings:
    """Return the settings of a file's text.

    Raises:
        ConfigError: as `load_settings`.
    """
    try:
        values: dict[str, Any] = tomllib.loads(text)
        lines = find_lines(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{source}: no valid TOML: {error}") from error
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        raise _wrong(source, list_mistakes(error, Settings, lines)) from error
    if misplaced := [(find_line(lines, path), said) for path, said in list_misplaced(settings)]:
        raise _wrong(source, misplaced)
    return settings


def _wrong(source: str, mistakes: list[tuple[int, str]]) -> ConfigError:
    return ConfigError("\n".join(f"{source}: line {line}: {clean(said, 500)}" for line, said in sorted(mistakes)))
