"""What happens on the host when a workflow calls something."""

import asyncio
import logging

from stepwell.engine import waiting
from stepwell.engine.agents import Agents
from stepwell.engine.border import plain
from stepwell.engine.outcome import Answer, child_answer, give, refuse, refused
from stepwell.engine.services import Services
from stepwell.engine.settling import reuse, settle
from stepwell.engine.state import answer_state
from stepwell.engine.stored import act_on_artifact, query_artifact, read_artifact
from stepwell.engine.tool_calls import ToolCalls
from stepwell.engine.waiting import Waiting
from stepwell.errors import InvalidArguments, RequestError, StepwellError
from stepwell.model import Json, JsonObject, Version
from stepwell.model.aside import Aside, size_of_value
from stepwell.model.secret_names import list_secret_names
from stepwell.ports import Caller
from stepwell.ports.frames import Call
from stepwell.store import spending
from stepwell.store.journal import Entry
from stepwell.store.runs import RunRow
from stepwell.store.waits import NewWait

log = logging.getLogger(__name__)

OF_THE_STORE = ("query", "act", "state")
STORE_CALLS = 8  # of one run at one time: their values are in memory until they are written


class Calls:
    """Answers the calls of one live run."""

    def __init__(self, services: Services, run: RunRow, version: Version, waits: Waiting) -> None:
        self._services = services
        self._run = run
        self._waits = waits
        self._book = waits.book
        self._aside = Aside()
        self._store_turn = asyncio.Semaphore(STORE_CALLS)
        self._adopted: list[int] = run.options.get("adopted", [])
        caller = Caller(
            run.workflow, version.hash, tuple(version.manifest.get("tools", ())), list_secret_names(version.source)
        )
        self._tools = ToolCalls(services, caller, waits)
        self.agents = Agents(services, run, caller, waits, self._safe_answer, self._tools.flying)

    async def answer(self, call: Call, decoded: JsonObject, digest: str) -> Answer:
        """Do what the call asks for, journal it, and return its outcome; once per key, over all attempts."""
        if call.kind not in OF_THE_STORE:
            return await self._safe_answer(call, decoded, digest)
        async with self._store_turn:
            answer = await self._safe_answer(call, decoded, digest)
            await self._book.drained()
            return answer

    async def _safe_answer(self, call: Call, decoded: JsonObject, digest: str, operators: bool = False) -> Answer:
        """Answer a call of the workflow, or of one of its agents: then `operators` says who has chosen its tools."""
        try:
            return await self._answer(call, decoded, digest, operators=operators)
        except StepwellError:
            raise
        except Exception:
            # Arguments that nobody thought of must not make the host try for ever.
            log.exception("run %s: the call %s could not be answered", self._run.id, call.name)
            answer = refuse("RuntimeError", f"the host could not answer the call {call.name}", "host_error")
            self._book.settle(self._book.entries.get(call.key) or self._book.draft(call, digest), answer)
            return answer

    async def _answer(self, call: Call, decoded: JsonObject, digest: str, *, operators: bool) -> Answer:
        entry = self._book.entries.get(call.key)
        args: list[Json] = decoded.get("args", [])
        kwargs: JsonObject = decoded.get("kwargs", {})
        if call.kind in ("tool", "query", "timer", "input", "approval", "event", "agent"):
            args, kwargs = await self._aside.run(len(call.args), lambda: (plain(args), plain(kwargs)))
        match call.kind:
            case "tool":
                return await self._tools.answer(call, entry, digest, args, kwargs, operators=operators)
            case "query":
                answer = await self._query(call.name, kwargs)
                self._book.settle(self._book.draft(call, digest), answer)
                return answer
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

    async def _query(self, name: str, kwargs: JsonObject) -> Answer:
        try:
            if name == "run.budget":
                await self._book.durable()  # with what the turns before have cost
                return give(await self._services.database.read(lambda c: spending.read_budget(c, self._run.id)))
            if name.startswith("artifacts."):
                return await query_artifact(self._services.database, name, kwargs, self._run.id)
            given = await self._services.functions.query(name, kwargs)
            return await self._aside.run(size_of_value(given), give, given)
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
                answer = give(await act(call.name, kwargs, self._run.id, self._book.idempotency_key(call, digest)))
        except RequestError as error:
            answer = refused(error)
        return settle(self._book, call, entry, answer)

    async def _agent(self, call: Call, entry: Entry | None, digest: str, kwargs: JsonObject) -> Answer:
        if entry is None:
            cut = await self._book.take_cut(call.label(digest), self._adopted, "ok")
            if cut is not None and b'"done"' in (cut.value or b""):
                return await reuse(self._book, call, digest, cut)
        return await self.agents.answer(call, entry, digest, kwargs)

    async def _child(
        self, call: Call, entry: Entry | None, digest: str, args: list[Json], kwargs: JsonObject
    ) -> Answer:
        detached = call.kind == "start"
        if entry is None and (cut := await self._book.take_cut(call.label(digest), self._adopted, "ok")) is not None:
            return await reuse(self._book, call, digest, cut)
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
            return settle(self._book, call, entry, answer)
        if detached:
            answer = give(child_id)
        else:
            self._book.event("child.started", {"workflow": call.name, "run_id": child_id})
            request: JsonObject = {"prompt": f"Waits for the workflow {call.name!r}", "context": {"run_id": child_id}}
            decision = await self._waits.until_child(NewWait(call.key, "child", call.name, request))
            self._waits.take(call.key)
            answer = child_answer(call.name, child_id, decision or {})
        return settle(self._book, call, entry, answer)

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
