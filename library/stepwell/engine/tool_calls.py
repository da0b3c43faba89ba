"""Calls of tools: whether one is made at all, or refused, or answered with what an earlier one has done."""

import asyncio
from dataclasses import replace

from stepwell.engine.book import was_made
from stepwell.engine.doubting import until_settled
from stepwell.engine.gating import gate_key, pass_gate
from stepwell.engine.outcome import Answer, tool_failed
from stepwell.engine.sending import Request, Sender
from stepwell.engine.services import Services
from stepwell.engine.settling import reuse, settle
from stepwell.engine.waiting import Waiting
from stepwell.errors import HostNeeded, ToolFailure
from stepwell.model import Json, JsonObject
from stepwell.model.aside import Aside
from stepwell.ports import Caller
from stepwell.ports.frames import Call
from stepwell.store.journal import Entry
from stepwell.store.waits import MAX_REDIRECT_GATES

MAX_NEAR = 20  # calls of one process to tools that are not there which are told of near ones: each takes a search


class ToolCalls:
    """Answers the calls that one live run makes to tools."""

    def __init__(self, services: Services, caller: Caller, waits: Waiting) -> None:
        self._database = services.database
        self._tools = services.tools
        self._caller = caller
        self._waits = waits
        self._book = waits.book
        self._aside = Aside()
        self._sender = Sender(services, waits)
        self._adopted: list[int] = waits.run.options.get("adopted", [])
        self._strays = 0
        self.flying = self._sender.flying

    async def answer(
        self, call: Call, entry: Entry | None, digest: str, args: list[Json], kwargs: JsonObject, *, operators: bool
    ) -> Answer:
        """Make the call if it may be made. With `operators` the operator has chosen the tool, not the workflow."""
        await self._tools.prepare(call.name)
        try:
            if self._tools.find_tool(call.name) is None:
                self._strays += 1
                raise await self._tools.missing(call.name, near=self._strays <= MAX_NEAR)
            spec = self._tools.admit(call.name, replace(self._caller, tools=None) if operators else self._caller)
            arguments = await self._aside.run(len(call.args), self._tools.bind, spec, args, kwargs)
            gate = self._tools.gate(spec, arguments, self._caller)
        except ToolFailure as error:
            # What is refused now may have been sent by an earlier attempt, under another policy.
            spec = self._tools.find_tool(call.name)
            decided = None if entry is None else await until_settled(self._waits, call, entry, digest, spec, kwargs)
            return decided or settle(self._book, call, entry or self._book.draft(call, digest), tool_failed(error))
        hosts: tuple[str, ...] = ()
        if gate is not None:
            denied = await pass_gate(self._database, self._waits, call, digest, arguments, gate)
            if denied is not None:
                return settle(self._book, call, entry or self._book.draft(call, digest), denied)
            hosts = gate.hosts
        return await self._make(Request(call, digest, spec, arguments, hosts), entry)

    async def _make(self, request: Request, entry: Entry | None) -> Answer:
        call, digest, spec = request.call, request.digest, request.spec
        earlier = None
        if entry is None and not spec.read_only:
            earlier = await self._earlier(call, call.label(digest))
            earlier = earlier or await self._book.take_cut(call.label(digest), self._adopted, "ok", "open", "in_doubt")
        if earlier is not None and (earlier.status == "ok" or (was_made(earlier) and not spec.repeatable)):
            return await reuse(self._book, call, digest, earlier)
        known = entry is not None or earlier is not None
        doubtful = known and not (spec.repeatable or self._was_redirected(call.key))
        redirects = 0
        while True:
            try:
                return await self._sender.send(request, entry, doubtful=doubtful)
            except HostNeeded as error:
                needed = error
            # It has only asked, and was answered: a person decides without a turn, and then it is made again. What
            # ends the run meanwhile leaves nothing in doubt.
            self._book.retract(call)
            entry, doubtful, redirects = None, False, redirects + 1
            denied = await self._follow(request, needed, redirects)
            if denied is not None:
                return settle(self._book, call, self._book.draft(call, digest), denied)
            request = replace(request, hosts=(*request.hosts, needed.host))

    async def _follow(self, request: Request, needed: HostNeeded, redirects: int) -> Answer | None:
        """Ask for a host that a call was redirected to; None when the call may be made again and go there."""
        if redirects > MAX_REDIRECT_GATES:
            return tool_failed(needed)
        try:
            gate = self._tools.redirect_gate(request.spec, needed.host)
        except ToolFailure as error:
            return tool_failed(error)
        return await pass_gate(
            self._database, self._waits, request.call, request.digest, request.arguments, gate, redirects
        )

    def _was_redirected(self, key: str) -> bool:
        """Whether an attempt before was answered by a redirect: such a call only asks, and had no effect."""
        asked = gate_key(key, 1)
        return asked in self._book.entries or asked in self._waits.rows

    async def _earlier(self, call: Call, label: str) -> Entry | None:
        """Return the same call of an earlier attempt; one that still goes on, since its step timed out, is awaited."""
        earlier = self._book.earlier_effect(call.key, label)
        while earlier is not None and (flying := self.flying.get(earlier.key)) is not None:
            await asyncio.wait([flying])
            earlier = self._book.earlier_effect(call.key, label)
        return earlier
