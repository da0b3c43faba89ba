"""What happens on the host when a workflow calls something."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from typing import Any

import msgspec

from stepwell.engine import waiting
from stepwell.engine.admission import without_attempts
from stepwell.engine.agents import Agents
from stepwell.engine.book import was_made
from stepwell.engine.border import plain
from stepwell.engine.doubting import answer_doubt, doubt_wait
from stepwell.engine.gating import gate_key, pass_gate
from stepwell.engine.inquiring import make_asker
from stepwell.engine.keeping import Saver
from stepwell.engine.outcome import Answer, child_answer, give, refuse, refused, tool_answered, tool_failed
from stepwell.engine.services import Services
from stepwell.engine.state import answer_state
from stepwell.engine.stored import act_on_artifact, query_artifact, read_artifact
from stepwell.engine.telling import telling
from stepwell.engine.waiting import Waiting
from stepwell.errors import HostNeeded, InvalidArguments, RequestError, StepwellError, ToolFailure
from stepwell.model import Json, JsonObject, Version
from stepwell.model.aside import LARGE, Aside
from stepwell.model.secret_names import list_secret_names
from stepwell.ports import CallContext, Caller, ToolSpec
from stepwell.ports.frames import Call, Failure
from stepwell.store import spending
from stepwell.store.journal import Entry
from stepwell.store.runs import RunRow
from stepwell.store.waits import MAX_REDIRECT_GATES, NewWait

log = logging.getLogger(__name__)

OF_THE_STORE = ("query", "act", "state")
MAX_NEAR = 20  # calls of one process to tools that are not there which are told of near ones: each takes a search
STORE_CALLS = 8  # of one run at one time: their values are in memory until they are written


class Calls:
    """Answers the calls of one live run."""

    def __init__(self, services: Services, run: RunRow, version: Version, waits: Waiting) -> None:
        self._services = services
        self._run = run
        self._caller = Caller(
            run.workflow, version.hash, tuple(version.manifest.get("tools", ())), list_secret_names(version.source)
        )
        self._waits = waits
        self._book = waits.book
        self._aside = Aside()
        self._saver = Saver(services.database, self._book, run, services.artifacts)
        self._store_turn = asyncio.Semaphore(STORE_CALLS)
        self._flying: dict[str, asyncio.Future[None]] = {}
        self._adopted: list[int] = run.options.get("adopted", [])
        self._strays = 0
        self._operators: set[str] = set()
        """Keys of calls of agents whose tools the operator has chosen."""
        self.agents = Agents(services, run, self._caller, waits, self._call_of_agent, self._flying)

    async def answer(self, call: Call, decoded: JsonObject, digest: str) -> Answer:
        """Do what the call asks for, journal it, and return its outcome; once per key, over all attempts."""
        if call.kind not in OF_THE_STORE:
            return await self._safe_answer(call, decoded, digest)
        async with self._store_turn:
            answer = await self._safe_answer(call, decoded, digest)
            await self._book.drained()
            return answer

    async def _safe_answer(self, call: Call, decoded: JsonObject, digest: str) -> Answer:
        try:
            return await self._answer(call, decoded, digest)
        except StepwellError:
            raise
        except Exception:
            # Arguments that nobody thought of must not make the host try for ever.
            log.exception("run %s: the call %s could not be answered", self._run.id, call.name)
            answer = refuse("RuntimeError", f"the host could not answer the call {call.name}", "host_error")
            self._book.settle(self._book.entries.get(call.key) or self._book.draft(call, digest), answer)
            return answer

    async def _answer(self, call: Call, decoded: JsonObject, digest: str) -> Answer:
        entry = self._book.entries.get(call.key)
        args: list[Json] = decoded.get("args", [])
        kwargs: JsonObject = decoded.get("kwargs", {})
        if call.kind in ("tool", "query", "timer", "input", "approval", "event", "agent"):
            args, kwargs = await self._aside.run(len(call.args), lambda: (plain(args), plain(kwargs)))
        match call.kind:
            case "tool":
                return await self._tool(call, entry, digest, args, kwargs)
            case "query":
                return await self._recorded(call, digest, self._query(call.name, kwargs))
            case "act":
                return await self._act(call, entry, digest, kwargs)
            case "state":
                return await answer_state(self._services.database, self._book, self._run, call, digest, kwargs)
            case "agent":
                return await self._agent(call, entry, digest, kwargs)
            case "child" | "start":
                return await self._child(call, entry, digest, args, kwargs)
            case "timer" | "input" | "approval" | "event":
                return await self._wait(call, entry, digest, kwargs)

    # -- tools -----------------------------------------------------------------------------------------------------

    async def _tool(self, call: Call, entry: Entry | None, digest: str, args: list[Json], kwargs: JsonObject) -> Answer:
        tools = self._services.tools
        await tools.prepare(call.name)
        try:
            if tools.find_tool(call.name) is None:
                self._strays += 1
                raise await tools.missing(call.name, near=self._strays <= MAX_NEAR)
            caller = replace(self._caller, tools=None) if call.key in self._operators else self._caller
            spec = tools.admit(call.name, caller)
            arguments = await self._aside.run(len(call.args), tools.bind, spec, args, kwargs)
            gate = tools.gate(spec, arguments, self._caller)
        except ToolFailure as error:
            # What is refused now may have been sent by an earlier attempt, under another policy.
            spec = tools.find_tool(call.name)
            decided = None if entry is None else await self._in_doubt(call, entry, digest, spec, kwargs)
            return decided or self._settle(call, entry or self._book.draft(call, digest), tool_failed(error))
        if gate is not None:
            denied = await pass_gate(self._services.database, self._waits, call, digest, arguments, gate)
            if denied is not None:
                return self._settle(call, entry or self._book.draft(call, digest), denied)
        return await self._call_tool(call, entry, digest, spec, arguments, () if gate is None else gate.hosts)

    async def _call_tool(
        self,
        call: Call,
        entry: Entry | None,
        digest: str,
        spec: ToolSpec,
        arguments: JsonObject,
        hosts: tuple[str, ...],
    ) -> Answer:
        earlier = None
        if entry is None and not spec.read_only:
            earlier = await self._earlier(call, call.label(digest))
            earlier = earlier or await self._book.take_cut(call.label(digest), self._adopted, "ok", "open", "in_doubt")
        if earlier is not None and (earlier.status == "ok" or (was_made(earlier) and not spec.repeatable)):
            return await self._reuse(call, digest, earlier)
        doubtful = (entry is not None or earlier is not None) and not (
            spec.repeatable or self._was_redirected(call.key)
        )
        redirects = 0
        while True:
            async with AsyncExitStack() as turn:
                try:
                    return await self._in_turn(
                        call, entry, digest, spec, arguments, hosts, doubtful=doubtful, turn=turn
                    )
                except HostNeeded as error:
                    needed = error
            # It has only asked, and was answered: a person decides without a turn, and then it is made again. What
            # ends the run meanwhile leaves nothing in doubt.
            self._book.retract(call)
            entry, doubtful, redirects = None, False, redirects + 1
            denied = await self._follow(call, digest, spec, arguments, needed, redirects)
            if denied is not None:
                return self._settle(call, self._book.draft(call, digest), denied)
            hosts = (*hosts, needed.host)

    async def _in_turn(
        self,
        call: Call,
        entry: Entry | None,
        digest: str,
        spec: ToolSpec,
        arguments: JsonObject,
        hosts: tuple[str, ...],
        *,
        doubtful: bool,
        turn: AsyncExitStack,
    ) -> Answer:
        tools = self._services.tools
        if not doubtful:  # before its intent: one that dies while it waits was not sent
            await self._take_turn(spec, turn)
        if entry is None:
            entry = (
                self._book.draft(call, digest) if spec.repeatable else self._book.open(call, digest, bytes(call.args))
            )
        key = self._idempotency_key(call, digest)
        save = self._saver.of(call)
        ask = make_asker(self._waits, call, digest)
        context = CallContext(self._run.id, self._run.workflow, key, hosts=hosts, save=save, ask=ask)
        while True:
            if doubtful:
                await turn.aclose()  # somebody is asked, which may take days
                decided = await self._in_doubt(call, entry, digest, spec, arguments)
                if decided is not None:
                    return decided
                await self._take_turn(spec, turn)
            began = time.monotonic()
            self._book.event("call.started", {"call": call.name, "key": call.key})
            await self._book.settled()
            try:
                with self._in_flight(call.key), telling(self._book, call) as tell:
                    given = await tools.call(spec, arguments, replace(context, tell=tell))
                answer = await self._aside.run(_size(given), tool_answered, call.name, given)
            except HostNeeded:
                raise
            except ToolFailure as error:
                answer = tool_failed(error)
            except Exception as error:  # noqa: BLE001  foreign code: nobody knows whether the call had its effect
                log.warning("run %s: %s ended without an answer: %r", self._run.id, call.name, error)
                if not spec.repeatable:
                    self._book.doubt(entry)
                    doubtful = True
                    continue
                message = f"{call.name} gave no answer: {type(error).__name__}"
                answer = refuse("ToolError", message, "no_answer", tool=call.name, retryable=True)
            taken: JsonObject = {"seconds": round(time.monotonic() - began, 6), "bytes": len(answer.value or b"")}
            return self._settle(call, entry, answer, taken)

    async def _follow(
        self, call: Call, digest: str, spec: ToolSpec, arguments: JsonObject, needed: HostNeeded, redirects: int
    ) -> Answer | None:
        """Ask for a host that a call was redirected to; None when the call may be made again and go there."""
        if redirects > MAX_REDIRECT_GATES:
            return tool_failed(needed)
        try:
            gate = self._services.tools.redirect_gate(spec, needed.host)
        except ToolFailure as error:
            return tool_failed(error)
        return await pass_gate(self._services.database, self._waits, call, digest, arguments, gate, redirects)

    def _was_redirected(self, key: str) -> bool:
        """Whether an attempt before was answered by a redirect: such a call only asks, and had no effect."""
        asked = gate_key(key, 1)
        return asked in self._book.entries or asked in self._waits.rows

    def _idempotency_key(self, call: Call, digest: str) -> str:
        # Where somebody decided that a call on a part that was cut off is made again, it is another call.
        cuts = str(self._book.cuts(call.key) or "")
        named = "\0".join((self._run.id, without_attempts(call.key), call.kind, call.name, digest, cuts))
        return hashlib.sha256(named.encode()).hexdigest()[:32]

    async def _earlier(self, call: Call, label: str) -> Entry | None:
        """Return the same call of an earlier attempt; one that still goes on, since its step timed out, is awaited."""
        earlier = self._book.earlier_effect(call.key, label)
        while earlier is not None and (flying := self._flying.get(earlier.key)) is not None:
            await asyncio.wait([flying])
            earlier = self._book.earlier_effect(call.key, label)
        return earlier

    async def _take_turn(self, spec: ToolSpec, turn: AsyncExitStack) -> None:
        if limits := self._services.tools.limits(spec.name):
            await turn.enter_async_context(self._services.throttle.turn(limits))

    @contextmanager
    def _in_flight(self, key: str) -> Generator[None, None, None]:
        flying: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flying[key] = flying
        try:
            yield
        finally:
            # Told a turn later, when the outcome is in the book.
            del self._flying[key]
            asyncio.get_running_loop().call_soon(flying.set_result, None)

    async def _in_doubt(
        self, call: Call, entry: Entry, digest: str, spec: ToolSpec | None, arguments: JsonObject
    ) -> Answer | None:
        """Return the outcome that was decided on; None to make the call again."""
        self._book.event("run.in_doubt", {"call": call.name, "key": call.key})
        wait = doubt_wait(self._run, call, digest, spec, arguments)
        if spec is not None and spec.on_doubt == "fail":
            answer = answer_doubt(call.name, None, ", and the operator's rule is to fail")
        else:
            decision = await self._waits.until_decided(wait)
            self._waits.take(wait.key)
            answer = answer_doubt(call.name, decision)
        return None if answer is None else self._settle(call, entry, answer)

    async def _agent(self, call: Call, entry: Entry | None, digest: str, kwargs: JsonObject) -> Answer:
        if entry is None:
            cut = await self._book.take_cut(call.label(digest), self._adopted, "ok")
            if cut is not None and b'"done"' in (cut.value or b""):
                return await self._reuse(call, digest, cut)
        return await self.agents.answer(call, entry, digest, kwargs)

    async def _call_of_agent(self, call: Call, decoded: JsonObject, digest: str, operators: bool) -> Answer:
        """Answer a call that an agent makes, as one of the workflow."""
        if operators:
            self._operators.add(call.key)
        return await self._safe_answer(call, decoded, digest)

    # -- the host's own functions ------------------------------------------------------------------------------------

    async def _query(self, name: str, kwargs: JsonObject) -> Answer:
        try:
            if name == "run.budget":
                await self._book.durable()  # with what the turns before have cost
                return give(await self._services.database.read(lambda c: spending.read_budget(c, self._run.id)))
            if name.startswith("artifacts."):
                return await query_artifact(self._services.database, name, kwargs, self._run.id)
            given = await self._services.functions.query(name, kwargs)
            return await self._aside.run(_size(given), give, given)
        except RequestError as error:
            return refused(error)

    async def _act(self, call: Call, entry: Entry | None, digest: str, kwargs: JsonObject) -> Answer:
        # All of these give the same result a second time, so no intent is needed.
        await self._book.durable()
        entry = entry or self._book.draft(call, digest)
        try:
            if call.name.startswith("artifacts."):
                artifact = await self._aside.run(len(call.args), read_artifact, call, kwargs, self._run.id)
                answer = await act_on_artifact(self._services.database, call, artifact, self._services.artifacts)
            else:
                act = self._services.functions.act
                kwargs = await self._aside.run(len(call.args), plain, kwargs)
                answer = give(await act(call.name, kwargs, self._run.id, self._idempotency_key(call, digest)))
        except RequestError as error:
            answer = refused(error)
        return self._settle(call, entry, answer)

    async def _recorded(self, call: Call, digest: str, work: Any) -> Answer:
        answer: Answer = await work
        self._book.settle(self._book.draft(call, digest), answer)
        return answer

    # -- other runs and waits ----------------------------------------------------------------------------------------

    async def _child(
        self, call: Call, entry: Entry | None, digest: str, args: list[Json], kwargs: JsonObject
    ) -> Answer:
        detached = call.kind == "start"
        if entry is None and (cut := await self._book.take_cut(call.label(digest), self._adopted, "ok")) is not None:
            return await self._reuse(call, digest, cut)
        # Known and without an outcome: its holder died meanwhile, and a child that has failed since keeps its failure.
        again = entry is None and call.key not in self._waits.rows
        entry = entry or self._book.open(call, digest)
        await self._book.durable()
        try:
            async with self._store_turn:
                child_id = await self._services.runs.start_child(
                    self._run, call.key, call.name, args, kwargs,
                    detached=detached, again=again, cuts=self._book.cuts(call.key),
                )  # fmt: skip
        except RequestError as error:
            answer = refused(error, "TypeError" if isinstance(error, InvalidArguments) else "ValueError")
            return self._settle(call, entry, answer)
        if detached:
            answer = give(child_id)
        else:
            self._book.event("child.started", {"workflow": call.name, "run_id": child_id})
            request: JsonObject = {"prompt": f"Waits for the workflow {call.name!r}", "context": {"run_id": child_id}}
            decision = await self._waits.until_child(NewWait(call.key, "child", call.name, request))
            self._waits.take(call.key)
            answer = child_answer(call.name, child_id, decision or {})
        return self._settle(call, entry, answer)

    async def _wait(self, call: Call, entry: Entry | None, digest: str, kwargs: JsonObject) -> Answer:
        match call.kind:
            case "timer":
                wait, finish = waiting.timer_wait(call.key, call.name, kwargs, call.delay_s), waiting.answer_timer
            case "input":
                wait, finish = waiting.input_wait(call.key, call.name, call.label(digest), kwargs), waiting.answer_input
            case "event":
                wait, finish = waiting.event_wait(call.key, call.name, kwargs), waiting.answer_event
            case _:
                wait = waiting.approval_wait(self._run, call.key, call.name, call.label(digest), kwargs)
                finish = waiting.answer_approval
        entry = entry or self._book.open(call, digest)
        until = self._waits.until_event if call.kind == "event" else self._waits.until_decided
        decision = await until(wait)
        self._waits.take(call.key)
        answer = finish(wait, decision)
        self._book.settle(entry, answer)
        if decision is None:
            self._book.event("wait.ended", {"key": call.key, "kind": wait.kind, "name": wait.name})
        return answer

    async def _reuse(self, call: Call, digest: str, earlier: Entry) -> Answer:
        """Give the call the result of an equal one that had its effect already."""
        self._book.event("call.reused", {"call": call.name, "key": call.key, "from": earlier.key})
        failure = None if earlier.error is None else msgspec.json.decode(earlier.error, type=Failure)
        return self._settle(call, self._book.draft(call, digest), Answer(await self._book.value(earlier), failure))

    def _settle(self, call: Call, entry: Entry, answer: Answer, taken: JsonObject | None = None) -> Answer:
        self._book.settle(entry, answer)
        data: JsonObject = {"call": call.name, "key": call.key} | (taken or {})
        if answer.failure is not None:
            data["error"] = f"{answer.failure.type}: {answer.failure.message}"[:500]
        self._book.event("call.completed" if answer.failure is None else "call.failed", data)
        return answer


def _size(value: Json) -> int:
    """Return the bytes of a tool's value, about; what has parts is taken for large without looking."""
    return LARGE if isinstance(value, dict | list) else len(value) if isinstance(value, str) else 0
