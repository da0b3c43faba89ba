"""`stepwell.toml`: what the operator decides."""

import dataclasses
import re
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
from stepwell.model.secret_names import SECRET_NAME
from stepwell.model.sizes import MIB, read_size
from stepwell.packages import PackagePolicy
from stepwell.ports import KeyPlace, Limits
from stepwell.ports.limits import LEAST, MAX_LIMIT, MOST
from stepwell.search.loading import SearchOptions
from stepwell.search.models import PRESETS, find_model, list_names
from stepwell.tools import (
    DoubtRule,
    FromCommand,
    FromEnvironment,
    FromFile,
    FromKeyring,
    Policy,
    SecretRule,
    ToolRules,
    is_host_pattern,
)
from stepwell.tools.messages import clean
from stepwell.tools.mistakes import list_mistakes
from stepwell.tools.rules import WORKFLOW
from stepwell.tools.secret_sources import Source
from stepwell.tools.throttle import CallLimit
from stepwell_server.durations import read_duration
from stepwell_server.home import find_models_folder
from stepwell_server.model_sections import AgentName, AgentSection, ModelSettings
from stepwell_server.toml_lines import find_lines
from stepwell_server.tool_settings import McpServerSettings, OpenApiSettings, PythonSettings, ServerName, read_key_place

MAX_FILE_BYTES = 256 * 1024
MAX_ASK_S = 3.2e9  # a hundred years
_RATE = re.compile(r"([1-9][0-9]{0,5})/(s|min|h)")
_SPANS = {"s": 1.0, "min": 60.0, "h": 3600.0}


def _check_host(pattern: str) -> str:
    if not is_host_pattern(pattern):
        raise ValueError(
            f'"{pattern}" is no host; write "api.example.org", "*.example.org" or "*", without scheme or port'
        )
    return pattern


def _check_tool_pattern(pattern: str) -> str:
    if not pattern or any(character.isspace() for character in pattern):
        raise ValueError(f'"{pattern}" is no pattern of tool names; write "fetch", "github.*" or "*"')
    return pattern


def _check_workflow_pattern(pattern: str) -> str:
    if not WORKFLOW.fullmatch(pattern):
        raise ValueError(
            f'"{pattern}" is no workflow; write "deploy", "report_*", or "deploy@3f2a91c0aa11" with the beginning of a '
            "version's hash"
        )
    return pattern


def _read_doubt(value: Any) -> DoubtRule:
    if value in ("ask", "retry", "fail"):
        return DoubtRule(value)
    if isinstance(value, dict) and list(value) == ["ask_s"]:  # pyright: ignore[reportUnknownArgumentType]
        seconds: Any = value["ask_s"]
        if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 0 < seconds < MAX_ASK_S:
            return DoubtRule("ask", float(seconds))
    raise ValueError('write "ask", "retry", "fail", or { ask_s = 86400 } to ask for so many seconds and then fail')


def _check_rate(value: str) -> str:
    if not _RATE.fullmatch(value):
        raise ValueError('write a whole number of calls and s, min or h, such as "30/min"')
    return value


def _read_size(value: Any) -> Any:
    return read_size(value) if isinstance(value, str) else value


def _read_duration(value: Any) -> Any:
    return read_duration(value) if isinstance(value, str) else value


Duration = Annotated[float, BeforeValidator(_read_duration), Field(gt=0, lt=MAX_LIMIT)]
HostPattern = Annotated[str, AfterValidator(_check_host)]
ToolPattern = Annotated[str, AfterValidator(_check_tool_pattern)]
NonEmpty = Annotated[str, Field(min_length=1)]
WorkflowPattern = Annotated[str, AfterValidator(_check_workflow_pattern)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class HttpSettings(_Section):
    """Where tools may go."""

    allow_hosts: Annotated[tuple[HostPattern, ...], Field(strict=False)] = ()
    """`api.github.com`, `*.example.org`, `*`."""
    unlisted: Literal["ask", "deny"] = "ask"
    """What becomes of a call to another host: a person is asked, or it is refused."""
    allow_private: bool = False


class KeyringEntry(_Section):
    """Where in the system's keyring."""

    service: NonEmpty
    user: NonEmpty


class SecretSettings(_Section):
    """A value that only the host knows: where it is read from, and where it may go."""

    env: NonEmpty | None = None
    keyring: KeyringEntry | None = None
    file: NonEmpty | None = None
    """Relative to the home."""
    command: Annotated[tuple[NonEmpty, ...] | None, Field(strict=False, min_length=1)] = None
    """A program and its arguments; what it prints is the value."""
    tools: Annotated[tuple[ToolPattern, ...], Field(strict=False)] = ()
    hosts: Annotated[tuple[HostPattern, ...], Field(strict=False)] = ()
    arguments: Annotated[tuple[NonEmpty, ...], Field(strict=False)] = ()
    """Patterns over places in the arguments, such as "headers.*"."""

    def rule(self, home: Path) -> SecretRule:
        """Return it as the library has it."""
        if self.env is not None:
            source: Source = FromEnvironment(self.env)
        elif self.keyring is not None:
            source = FromKeyring(self.keyring.service, self.keyring.user)
        elif self.file is not None:
            source = FromFile(home / Path(self.file).expanduser())
        else:
            source = FromCommand(self.command or ())
        return SecretRule(source, self.tools, self.hosts, self.arguments)


def _check_secret(secret: SecretSettings) -> SecretSettings:
    sources = [secret.env, secret.keyring, secret.file, secret.command]
    if sum(source is not None for source in sources) != 1:
        raise ValueError("give one of env, keyring, file and command")
    if not secret.tools and not secret.hosts:
        raise ValueError('say where it may go: tools = ["github.*"], hosts = ["api.github.com"], or both')
    return secret


def _check_secret_name(name: str) -> str:
    if not SECRET_NAME.fullmatch(name):
        raise ValueError(f'"{name}" is no name of a secret: letters, digits and _, at most 64')
    return name


SecretName = Annotated[str, AfterValidator(_check_secret_name)]


class WorkflowPolicy(_Section):
    """What some workflows may call."""

    tools: dict[ToolPattern, Policy] = {}
    """As in `[policy]`; the stricter of the two counts, unless the rule is of one version."""


class LimitSettings(_Section):
    """How many calls go out, of all tools together that the pattern covers."""

    concurrency: Annotated[int | None, Field(ge=1, le=1024)] = None
    """At one time."""
    rate: Annotated[str, AfterValidator(_check_rate)] | None = None
    """Such as "30/min"."""

    def limit(self) -> CallLimit:
        """Return it as the library has it."""
        if self.rate is None:
            return CallLimit(self.concurrency)
        calls, _, span = self.rate.partition("/")
        return CallLimit(self.concurrency, int(calls), _SPANS[span])


class PolicySettings(_Section):
    """What workflows may call, and who may approve."""

    tools: dict[ToolPattern, Policy] = {}
    """Patterns over dotted names; the last one that matches counts."""
    workflows: dict[WorkflowPattern, WorkflowPolicy] = {}
    """By patterns over names, or `name@hash` for one version."""
    limits: dict[ToolPattern, LimitSettings] = {}
    """By patterns over dotted names; all that match count, in each process."""
    dynamic_tools: bool = False
    """Whether workflows may call tools that their source does not name."""
    approvals: Literal["any", "person"] = "any"
    ask_for: Duration | None = None
    """How long a person is asked whether a tool may be called, such as "30d"; for ever unless given."""
    use_within: Duration = 7 * 86_400.0
    """How old an approval of a tool may be when the call is made; after that it is asked for again."""


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

    secrets: dict[SecretName, Annotated[SecretSettings, AfterValidator(_check_secret)]] = {}

    def tool_rules(self) -> ToolRules:
        """Return the rules over tools as the library has them."""
        policy = self.policy
        return ToolRules(
            policy.tools,
            self.in_doubt,
            self.idempotency,
            workflows={name: rules.tools for name, rules in policy.workflows.items()},
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
        return Settings.model_validate(values)
    except ValidationError as error:
        mistakes = list_mistakes(error, Settings, lines)
        raise ConfigError(
            "\n".join(f"{source}: line {line}: {clean(said, 500)}" for line, said in sorted(mistakes))
        ) from error
