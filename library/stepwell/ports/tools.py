"""What the engine asks of the tools on the host."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from stepwell.errors import ToolFailure
from stepwell.model import Json, JsonObject

Policy: TypeAlias = Literal["allow", "approve", "person", "deny"]
"""From lax to strict. `approve`: a call is approved before it leaves; `person`: not on the word of a client."""


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """Where a tool takes the key that makes a second call of it have no further effect."""

    kind: Literal["header", "argument", "meta"]
    """A header of its request, one of its arguments, an entry of `_meta` of an MCP call."""
    name: str


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that workflows can call."""

    name: str
    """Dotted, as in `tools.<name>(...)`: `fetch`, `curl.get`, `github.create_issue`."""
    description: str
    schema: JsonObject
    """JSON Schema of the arguments object; its property order is the order of positional arguments."""
    returns: str = "str"
    """What a call gives, for the paste-ready signature."""
    read_only: bool = False
    """May be called again after a crash, and needs no durable intent."""
    idempotent: bool = False
    """Has effects, and a second call with the same idempotency key or arguments has no further one."""
    destructive: bool = False
    policy: Policy = "allow"
    on_doubt: Literal["ask", "fail"] = "ask"
    """What becomes of a call whose answer was lost and that may not be repeated."""
    ask_s: float | None = None
    """How long is asked, until it fails; None: for ever."""
    takes_key: tuple[Literal["header", "meta"], ...] = ()
    """Where it can take the idempotency key, beside in an argument that it has."""
    key_place: KeyPlace | None = None
    """Where the idempotency key goes, as the operator says; None: nowhere."""
    origin: str = ""
    """Where it comes from and how it is called there, for people: `MCP server github, tool create-issue`."""

    @property
    def repeatable(self) -> bool:
        """Whether a call whose answer was lost may simply be made again."""
        return self.read_only or self.idempotent


@dataclass(frozen=True, slots=True)
class ToolHit:
    """One tool that a search found."""

    spec: ToolSpec
    score: float
    """0 to 1; 1 is the exact name."""
    why: str
    """`exact name`, or how near its meaning is and which words were found."""


@dataclass(frozen=True, slots=True)
class ToolSearch:
    """What a search for tools found, best first."""

    items: tuple[ToolHit, ...]
    mode: Literal["hybrid", "lexical"] = "lexical"
    model: str | None = None
    """What has compared meanings; None where only words were."""
    low_confidence: bool = False
    """Nothing was found, or the best is likely not what was meant."""
    pending: int = 0
    """Tools whose meaning is not known yet; they are found by their words."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The workflow that calls, as the operator's rules know it."""

    workflow: str
    version: str
    """Its hash."""
    tools: tuple[str, ...] | None = None
    """What its source names: tools, and groups of them such as `github`; None where that does not matter."""
    secrets: tuple[str, ...] | None = None
    """The secrets that its source names."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Something that a person can allow, for one call or for more."""

    kind: Literal["tool", "host"]
    name: str
    detail: str = ""
    """Of a tool: the digest of its definition and of the arguments."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What a person must allow before a call leaves."""

    prompt: str
    subjects: tuple[Subject, ...]
    ask_s: float | None = None
    """Nobody is asked for longer; None: for ever."""
    use_s: float | None = None
    """An approval that is older when the call is made counts for nothing; None: it stays."""
    person: bool = False
    """A client's word does not count, also where all that is asked about is on the operator's list."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts that are not on the operator's list and that the call may reach once it is allowed."""
        return tuple(subject.name for subject in self.subjects if subject.kind == "host")


@dataclass(frozen=True, slots=True)
class CallLimit:
    """Of all calls together that a pattern covers, from all processes of a home."""

    concurrency: int | None = None
    calls: int | None = None
    """At most so many begin in `span_s` seconds."""
    span_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Binary:
    """Bytes that a tool has answered with."""

    data: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What a tool wants to know from a person while it is called."""

    prompt: str
    schema: JsonObject
    """JSON Schema of a flat object: the form's fields."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a person has answered."""

    action: Literal["accept", "decline", "cancel"]
    content: JsonObject


Saver: TypeAlias = Callable[[Binary], Awaitable[JsonObject]]
"""Keeps bytes as an artifact of the run and returns what the workflow gets instead."""
Asker: TypeAlias = Callable[[Inquiry], Awaitable[Reply]]
"""Asks a person; the call waits meanwhile."""
Teller: TypeAlias = Callable[[float | None, float | None, str], None]
"""Takes how much of a call is done, of how much in all, and what is being done."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """Who calls, and what the call may ask of the engine."""

    run_id: str
    workflow: str
    idempotency_key: str
    """Stands for run, call and arguments, in 32 hexadecimal digits; the same on every repetition."""
    hosts: tuple[str, ...] = ()
    """Beside those of the operator's list, hosts that a person has allowed for this call."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of a request that the tool makes, beside its own."""
    meta: Mapping[str, str] = field(default_factory=dict[str, str])
    """Entries of `_meta`, where the tool is one of an MCP server."""
    save: Saver | None = None
    ask: Asker | None = None
    tell: Teller | None = None


class ToolHost(Protocol):
    """The tools of this host, under its policy. What it lists may change while it runs."""

    async def prepare(self, name: str = "") -> None:
        """Learn which tools there are under a dotted name, all if it is empty; bounded in time, and never raises."""
        ...

    def list_tools(self) -> list[ToolSpec]:
        """Return all tools, ordered by name."""
        ...

    def find_tool(self, name: str) -> ToolSpec | None:
        """Return the tool of that dotted name, or None."""
        ...

    async def missing(self, name: str, *, near: bool = True) -> ToolFailure:
        """Return the error of a call of a tool that is not there: what is wrong, or what is `near` it."""
        ...

    async def search_tools(self, query: str, limit: int, prefix: str = "") -> ToolSearch:
        """Return the tools under a dotted name that fit the query, best first; denied ones are left out."""
        ...

    def admit(self, name: str, caller: Caller) -> ToolSpec:
        """Return the tool of that name, with the policy that it has for the caller.

        Raises:
            ToolFailure: code `unknown_tool`; `not_allowed` where policy denies it, `not_declared` where the caller's
                source does not name it.
        """
        ...

    def gate(self, spec: ToolSpec, arguments: JsonObject, caller: Caller) -> Gate | None:
        """Return what a person must allow before a call with bound arguments, if anything.

        `spec` is what `admit` gave.

        Raises:
            ToolFailure: no person can allow it: a host that is refused, a secret that may not go there.
        """
        ...

    def demands_person(self, caller: Caller) -> bool:
        """Return whether only a person decides what the caller asks."""
        ...

    def redirect_gate(self, spec: ToolSpec, host: str) -> Gate:
        """Return what a person must allow before a call that has raised `HostNeeded` is made again.

        Raises:
            ToolFailure: no person can allow that host.
        """
        ...

    def bind(self, spec: ToolSpec, args: list[Json], kwargs: JsonObject) -> JsonObject:
        """Return the arguments object of a call, checked against the tool's schema.

        Raises:
            ToolFailure: code `invalid_arguments`, or `not_allowed` where policy denies the tool.
        """
        ...

    def limits(self, name: str) -> Mapping[str, CallLimit]:
        """Return the operator's limits that count a call of the tool, by their patterns."""
        ...

    async def call(self, spec: ToolSpec, arguments: JsonObject, context: CallContext) -> Json:
        """Make the call and return its value.

        Raises:
            HostNeeded: it was redirected to a host that a person must allow; it has had no effect.
            ToolFailure: the tool answered with an error. Any other exception means that the outcome is unknown.
        """
        ...
