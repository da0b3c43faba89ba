"""The parts of `stepwell.toml` that say what workflows may call, and what they may send there."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from stepwell.model.secret_names import SECRET_NAME
from stepwell.ports import CallLimit
from stepwell.ports.limits import MAX_LIMIT
from stepwell.tools import FromCommand, FromEnvironment, FromFile, FromKeyring, Policy, SecretRule, is_host_pattern
from stepwell.tools.rules import WORKFLOW, Approvals
from stepwell.tools.secret_sources import Source
from stepwell_server.durations import read_duration

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


def _check_rate(value: str) -> str:
    if not _RATE.fullmatch(value):
        raise ValueError('write a whole number of calls and s, min or h, such as "30/min"')
    return value


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
Secret = Annotated[SecretSettings, AfterValidator(_check_secret)]


class WorkflowPolicy(_Section):
    """What some workflows may call, and who may approve it.

    As in `[policy]`; the stricter of the two counts, unless the rule is of one version.
    """

    tools: dict[ToolPattern, Policy] = {}
    approvals: Approvals | None = None


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
    """By patterns over dotted names; all that match count, over all processes of the home."""
    dynamic_tools: bool = False
    """Whether workflows may call tools that their source does not name."""
    approvals: Approvals = "any"
    ask_for: Duration | None = None
    """How long a person is asked whether a tool may be called, such as "30d"; for ever unless given."""
    use_within: Duration = 7 * 86_400.0
    """How old an approval of a tool may be when the call is made; after that it is asked for again."""
