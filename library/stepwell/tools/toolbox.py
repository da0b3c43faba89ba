"""All tools of this host, under the operator's rules."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stepwell.errors import ToolFailure
from stepwell.model import Json, JsonObject
from stepwell.ports import CallContext, Caller, CallLimit, Gate, ToolSpec
from stepwell.ports.tools import ToolSearch
from stepwell.search.ranking import LOW_CONFIDENCE
from stepwell.tools.binding import bind_arguments, make_validator
from stepwell.tools.gates import changed, make_gate, make_redirect_gate, undeclared
from stepwell.tools.messages import failure
from stepwell.tools.network import NetworkPolicy
from stepwell.tools.ranking import Meanings, ToolRanking
from stepwell.tools.rules import ToolRules, names_tool, with_key
from stepwell.tools.secrets import Secrets
from stepwell.tools.sources import Source, Tried
from stepwell.tools.tool import Tool

if TYPE_CHECKING:
    from stepwell.tools.contents import Contents
    from stepwell.tools.openapi import OpenApi
    from stepwell.tools.python import PythonModule
    from stepwell.tools.upstream import McpServer
    from stepwell.tools.validating import Validator

MAX_TRIED = 4  # sources that are tried at one time
MAX_NAMED = 5  # tools, in one text
WAIT_AT_ONCE = 25
PREPARE_S = 10.0  # for all listings; a server that is slower is there the next time


@dataclass(slots=True)
class _Entry:
    tool: Tool
    spec: ToolSpec
    validator: "Validator | None" = None


@dataclass(slots=True)
class _Part:
    """The tools of one source as they were at its revision."""

    source: Source
    revision: int = -1
    entries: dict[str, _Entry] = field(default_factory=dict[str, _Entry])
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(WAIT_AT_ONCE))
    """Of calls that wait until their tool is known; of a thousand a few go on in one turn of the event loop."""


@dataclass(frozen=True, slots=True)
class _Filled:
    fixed: dict[str, _Entry]
    parts: dict[str, _Part]
    problems: tuple[str, ...]


class Toolbox:
    """The `ToolHost` of this process. Make it with `open_toolbox`."""

    def __init__(
        self,
        fill: "Callable[[], Contents]",
        rules: ToolRules,
        network: NetworkPolicy,
        secrets: Secrets,
        *,
        meanings: Meanings | None = None,
    ) -> None:
        self._rules, self._network, self._secrets = rules, network, secrets
        self._ranking = ToolRanking(meanings)
        self._fill, self._filling, self._opening = fill, threading.Lock(), asyncio.Lock()
        self._filled: _Filled | None = None

    def _open(self) -> _Filled:
        if self._filled is None:
            with self._filling:
                if self._filled is None:
                    found = self._fill()
                    fixed = {tool.spec.name: _Entry(tool, self._rules.apply(tool.spec)) for tool in found.tools}
                    parts = {source.name: _Part(source) for source in found.sources}
                    self._filled = _Filled(fixed, parts, found.problems)
        return self._filled

    @property
    def _fixed(self) -> dict[str, _Entry]:
        return self._open().fixed

    @property
    def _parts(self) -> dict[str, _Part]:
        return self._open().parts

    @property
    def problems(self) -> tuple[str, ...]:
        """What the operator should mend: files that were skipped, commands and servers that cannot be started."""
        found = [*self._open().problems, *(p.source.problem for p in self._parts.values() if p.source.problem)]
        known = [self._fixed, *(self._known(part) for part in self._parts.values())]
        lost = [name for entries in known for name, e in entries.items() if self._rules.loses_key(e.tool.spec)]
        if lost:
            more = f" and {len(lost) - MAX_NAMED} more" if len(lost) > MAX_NAMED else ""
            names = ", ".join(lost[:MAX_NAMED])
            found.append(f"[idempotency]: {names}{more} cannot take the key there; such calls are not repeated")
        return tuple(found)

    async def prepare(self, name: str = "") -> None:
        """Learn the listing of the source that has the tool, of all if the name is empty."""
        if self._filled is None:
            async with self._opening:  # a guest may have a thousand calls that wait for this: they go on one by one
                if self._filled is None:
                    await asyncio.to_thread(self._open)
        if name:
            part = self._parts.get(name.partition(".")[0])
            if part is not None and name in self._known(part):
                await part.source.prepare(name)
            elif part is not None and name not in self._fixed:
                async with part.places:
                    await part.source.prepare("" if name == part.source.name else name)
            return
        looks = [asyncio.create_task(part.source.prepare()) for part in self._parts.values()]
        if looks:
            _, late = await asyncio.wait(looks, timeout=PREPARE_S)
            for look in late:  # the source itself goes on
                look.cancel()

    async def try_sources(self, within_s: float) -> list[Tried]:
        """Ask every source for its tools, a few at one time, as long as the time lasts."""
        places = asyncio.Semaphore(MAX_TRIED)

        async def ask(part: _Part) -> None:
            async with places:
                await part.source.prepare()

        asked = {name: asyncio.create_task(ask(part)) for name, part in self._parts.items()}
        late = set[asyncio.Task[None]]()
        if asked:
            _, late = await asyncio.wait(asked.values(), timeout=within_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        sources = {name: part.source for name, part in self._parts.items()}
        return [
            Tried(name, source.section, len(source.tools()), source.problem, asked[name] in late)
            for name, source in sources.items()
        ]

    def list_tools(self) -> list[ToolSpec]:
        """Return all known tools, ordered by name, denied ones too."""
        entries = dict(self._fixed)
        for part in self._parts.values():
            entries |= self._known(part)
        return [entries[name].spec for name in sorted(entries)]

    def find_tool(self, name: str) -> ToolSpec | None:
        """Return the tool of that dotted name, or None."""
        entry = self._find(name)
        return entry.spec if entry else None

    async def missing(self, name: str, *, near: bool = True) -> ToolFailure:
        """Return the error of a call of a tool that is not there, with names that are `near` it."""
        part = self._parts.get(name.partition(".")[0])
        if part is not None and part.source.problem and not part.source.tools():
            return failure(name, f"{name}: {part.source.problem}", code="not_started", retryable=True)
        found = (await self.search_tools(name.replace(".", " "), 3)).items if near else ()
        names = ", ".join(hit.spec.name for hit in found)
        hint = f"Near ones: {names}." if names else "tools.list() shows all."
        return failure(name, f"there is no tool {name[:200]!r}.", code="unknown_tool", hint=hint)

    async def search_tools(self, query: str, limit: int, prefix: str = "") -> ToolSearch:
        """Return the tools under a dotted name that fit the query, best first; denied ones are left out."""
        specs = [spec for spec in self.list_tools() if spec.policy != "deny"]
        # All are ranked whatever the name: another set of tools would have their words read anew.
        found = await self._ranking.search(specs, query, len(specs) if prefix else limit)
        if not prefix:
            return found
        under = tuple(hit for hit in found.items if hit.spec.name.startswith(f"{prefix}."))[:limit]
        best = under[0].score if under else 0.0
        return replace(found, items=under, low_confidence=best < LOW_CONFIDENCE)

    def close(self) -> None:
        """Give back what searching has taken."""
        self._ranking.close()

    def admit(self, name: str, caller: Caller) -> ToolSpec:
        """Return the tool of that name, with the policy that it has for the caller.

        Raises:
            ToolFailure: see `ToolHost.admit`.
        """
        entry = self._find(name)
        if entry is None:
            raise _unknown(name)
        policy = self._rules.policy_for(entry.spec, caller)
        spec = entry.spec if policy == entry.spec.policy else replace(entry.spec, policy=policy)
        if spec.policy == "deny":
            raise _denied(name)
        if not self._rules.dynamic and not names_tool(caller.tools, name):
            raise undeclared(spec, caller.tools or ())
        return spec

    def gate(self, spec: ToolSpec, arguments: JsonObject, caller: Caller) -> Gate | None:
        """Return what a person must allow before a call, if anything.

        Raises:
            ToolFailure: see `ToolHost.gate`.
        """
        hosts = self._allowed(spec.name).tool.hosts(arguments)
        self._secrets.check(spec.name, hosts, arguments, None if self._rules.dynamic else caller.secrets)
        return make_gate(spec, arguments, hosts, self._network, self._rules, self._rules.approvals_for(caller))

    def demands_person(self, caller: Caller) -> bool:
        """Return whether only a person decides what the caller asks."""
        return self._rules.approvals_for(caller) == "person"

    def redirect_gate(self, spec: ToolSpec, host: str) -> Gate:
        """Return what a person must allow before a call that was redirected to a host goes there.

        Raises:
            ToolFailure: see `ToolHost.redirect_gate`.
        """
        return make_redirect_gate(spec, host, self._network, self._rules)

    def bind(self, spec: ToolSpec, args: list[Json], kwargs: JsonObject) -> JsonObject:
        """Return the arguments object of a call.

        Raises:
            ToolFailure: code `invalid_arguments` or `not_allowed`.
        """
        entry = self._allowed(spec.name)
        if entry.validator is None:
            entry.validator = make_validator(entry.spec)
        arguments = bind_arguments(entry.spec, entry.validator, args, kwargs)
        entry.tool.check(arguments)
        return arguments

    def limits(self, name: str) -> Mapping[str, CallLimit]:
        """Return the operator's limits that count a call of the tool."""
        return self._rules.limits_of(name)

    async def call(self, spec: ToolSpec, arguments: JsonObject, context: CallContext) -> Json:
        """Make the call and return its value.

        Raises:
            ToolFailure: the tool answered with an error.
            OutcomeUnknown: the call was made, cannot be repeated, and no answer came.
        """
        entry = self._allowed(spec.name)
        if spec.policy != "allow" and replace(entry.spec, policy=spec.policy) != spec:
            raise changed(spec)
        arguments, context = with_key(entry.spec, arguments, context)
        if not self._secrets:
            return await entry.tool.call(entry.spec, arguments, context)
        hosts = entry.tool.hosts(arguments)
        filled = await self._secrets.fill(spec.name, hosts, arguments)
        try:
            if entry.tool.hosts(filled) != hosts:
                raise failure(spec.name, f"{spec.name}: a secret cannot name a host", code="not_allowed")
            given = await entry.tool.call(entry.spec, filled, self._secrets.guard(context))
        except Exception as error:  # noqa: BLE001  foreign code: its text may hold what was sent
            raise self._secrets.hide(error) from None
        try:
            return await self._secrets.hidden(given)
        except RecursionError:
            said = f"{spec.name}: the call was made, and its answer is nested too deeply to be looked through"
            raise failure(spec.name, said, code="bad_answer") from None

    def _find(self, name: str) -> _Entry | None:
        if (fixed := self._fixed.get(name)) is not None:
            return fixed
        part = self._parts.get(name.partition(".")[0])
        return None if part is None else self._known(part).get(name)

    def _known(self, part: _Part) -> dict[str, _Entry]:
        tools = part.source.tools()
        if part.revision != part.source.revision:
            part.revision = part.source.revision
            part.entries = {tool.spec.name: _Entry(tool, self._rules.apply(tool.spec)) for tool in tools}
        return part.entries

    def _allowed(self, name: str) -> _Entry:
        entry = self._find(name)
        if entry is None:
            raise _unknown(name)
        if entry.spec.policy == "deny":
            raise _denied(name)
        return entry


@asynccontextmanager
async def open_toolbox(
    folder: Path | None = None,
    *,
    network: NetworkPolicy | None = None,
    rules: ToolRules | None = None,
    servers: "Sequence[McpServer]" = (),
    apis: "Sequence[OpenApi]" = (),
    modules: "Sequence[PythonModule]" = (),
    kept: Path | None = None,
    secrets: Secrets | None = None,
    meanings: Meanings | None = None,
) -> AsyncGenerator[Toolbox, None]:
    """Open the built-in tools, those of the folder's `*.yaml` files, of MCP servers, HTTP services and Python modules.

    They are read when they are first asked for. A file that is wrong, and a name that is taken, is a line in
    `problems`; the other tools work. Listings of servers are `kept` in a folder. On exit connections are closed and
    servers ended.
    """
    allowed = network or NetworkPolicy()
    hidden = secrets or Secrets()
    async with AsyncExitStack() as stack:

        def fill() -> "Contents":
            # Clients and recipes take a tenth of a second to load: many commands and servers call no tool.
            from stepwell.tools.contents import fill_toolbox  # noqa: PLC0415

            return fill_toolbox(stack, folder, allowed, servers, apis, modules, kept, hidden.reveal)

        toolbox = Toolbox(fill, rules or ToolRules(), allowed, hidden, meanings=meanings)
        try:
            yield toolbox
        finally:
            toolbox.close()


def _unknown(name: str) -> ToolFailure:
    return failure(name, f"there is no tool {name} on this host", code="unknown_tool")


def _denied(name: str) -> ToolFailure:
    return failure(
        name,
        f"{name}: the operator's policy denies this tool",
        code="not_allowed",
        hint="The operator can change it in stepwell.toml: [policy] tools.",
    )
