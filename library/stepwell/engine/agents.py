"""Agents' calls: the loop of model turns and tool calls, each of which is an entry of the journal.

The loop is made anew in every attempt and finds in the journal what is there. Tools are called through the same
entrance as a workflow's own calls. What needs the guest goes back to it as the call's outcome: functions of the
workflow, and the check of an output's type; the guest then calls again, and the loop goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from msgspec import Raw

from stepwell.engine import agent_plan
from stepwell.engine.agent_keys import INSIDE, split_key, turn_key
from stepwell.engine.agent_plan import SUBMIT, Plan, Tool
from stepwell.engine.border import plain
from stepwell.engine.outcome import Answer, encode_plain, give, refuse
from stepwell.engine.services import Services
from stepwell.engine.turns import Turn, Turns
from stepwell.engine.waiting import Waiting
from stepwell.errors import InvalidArguments, ModelFailure, RequestError
from stepwell.model import Json, JsonObject
from stepwell.ports import Caller, Usage
from stepwell.ports.frames import Call, Failure
from stepwell.ports.models import PICO
from stepwell.sdk import codec
from stepwell.store import waits
from stepwell.store.journal import Entry
from stepwell.store.runs import RunRow

AT_ONCE = 16  # tools of one agent
MAX_RESULT = 100_000  # characters of a tool's result that the model gets
MAX_PARTIAL = 8000  # characters
EMPTY, NOTHING = "(empty)", "(nothing)"  # in place of texts that providers refuse
NOT_CALLED = "Not called: the result was submitted beside it."
CallTool = Callable[[Call, JsonObject, str, bool], Awaitable[Answer]]


class _Stopped(Exception):
    """The workflow does not want the agent's answer any more."""


class Agents:
    """The agents' calls of one live run."""

    def __init__(
        self,
        services: Services,
        run: RunRow,
        caller: Caller,
        waiting: Waiting,
        call_tool: CallTool,
        flying: dict[str, Any],
    ) -> None:
        self._services = services
        self._run = run
        self._caller = caller
        self._waits = waiting
        self._book = waiting.book
        self._call_tool = call_tool
        self._turns = Turns(services, run, waiting.book)
        self._asking: set[str] = set()
        self._flying = flying
        """Tool calls that have been sent, by key."""
        self._stopped: set[str] = set()
        self._inner: dict[str, int] = {}
        """Tools that are under way, by the agent's call."""

    @property
    def besides(self) -> int:
        """How many more calls are open than the guest has made: an agent stands for the tools that it waits for."""
        return sum(max(1, inner) - 1 for inner in self._inner.values())

    @property
    def asking(self) -> int:
        """How many agents wait for a model."""
        return len(self._asking)

    def drop(self, call: Call) -> bool:
        """Nobody wants the answer any more; whether its work can just be left, since nothing is under way."""
        base, _ = split_key(call.key)
        self._stopped.add(base)
        if base in self._asking or any(key.startswith(f"{base}{INSIDE}") for key in self._flying):
            return False
        for key in [key for key in self._waits.open if key.startswith(f"{base}{INSIDE}")]:
            del self._waits.open[key]
            self._book.write(lambda c, key=key: waits.void_waits(c, self._run.id, key))
        return True

    async def answer(self, call: Call, entry: Entry | None, digest: str, kwargs: JsonObject) -> Answer:
        """Work on an agent's call until it has an answer or needs the guest.

        Raises:
            BudgetExceeded: its next turn could cost more than is left; nothing of it was sent.
        """
        base, more = split_key(call.key)
        entry = entry or self._book.open(call, digest)
        try:
            plan = await self._plan(call, base, kwargs) if more == 0 else await self._resumed(call, base, kwargs)
            answer = give(await self._loop(call, plan, base))
        except _Stopped:
            answer = refuse("AgentError", f"the agent {call.name!r} was not waited for", "cancelled", agent=call.name)
        except RequestError as error:
            answer = _failed(call, agent_plan.refused(error))
        except ModelFailure as error:
            answer = _failed(call, error)
        self._book.settle(entry, answer)
        return answer

    # -- the plan, and what the guest brings ---------------------------------------------------------------------------

    async def _plan(self, call: Call, base: str, kwargs: JsonObject) -> Plan:
        known = self._book.entries.get(f"{base}{INSIDE}plan")
        if known is not None:
            return msgspec.json.decode(_text(await self._book.value(known)), type=Plan)
        plan = await agent_plan.make_plan(self._services, self._caller, call.name, agent_plan.read_asked(kwargs))
        self._note(call, f"{base}{INSIDE}plan", "plan", msgspec.json.encode(plan).decode())
        return plan

    async def _resumed(self, call: Call, base: str, kwargs: JsonObject) -> Plan:
        known = self._book.entries.get(f"{base}{INSIDE}plan")
        newest = self._newest(base)
        if known is None or newest == 0:
            raise InvalidArguments(f"the agent {call.name!r} was not asked before")
        plan = msgspec.json.decode(_text(await self._book.value(known)), type=Plan)
        turn = turn_key(base, newest)
        if isinstance(kwargs.get("repair"), str) and f"{turn}/repair" not in self._book.entries:
            if self._is_repaired(base, newest):
                said = kwargs["repair"][:1000]
                raise ModelFailure(
                    f"the agent {call.name!r} gave no output of the type asked for, twice: {said}",
                    code="invalid_output",
                )
            self._note(call, f"{turn}/repair", "repair", kwargs["repair"][:MAX_PARTIAL])
        results: Any = kwargs.get("results")
        for result in results if isinstance(results, list) else []:
            if not isinstance(result, dict) or not isinstance(result.get("id"), int):
                raise InvalidArguments("the guest gave no results of functions")
            key = f"{turn}/{result['id']}"
            if key not in self._book.entries:
                kept = {name: str(result[name])[:MAX_RESULT] for name in ("text", "error") if name in result}
                self._note(call, key, "function", msgspec.json.encode(kept).decode())
        return plan

    def _newest(self, base: str) -> int:
        n = 0
        while turn_key(base, n + 1) in self._book.entries:
            n += 1
        return n

    def _is_repaired(self, base: str, newest: int) -> bool:
        return any(f"{turn_key(base, n)}/repair" in self._book.entries for n in range(1, newest + 1))

    def _note(self, call: Call, key: str, kind: str, text: str) -> None:
        self._book.settle(self._book.host_entry(key, kind, call.name, "", call.step), give(text))

    # -- the loop ------------------------------------------------------------------------------------------------------

    async def _loop(self, call: Call, plan: Plan, base: str) -> JsonObject:
        messages = _opening(plan)
        tools = {tool.name: tool for tool in plan.tools}
        taken: list[Turn] = []
        given = 0
        for n in range(1, plan.max_turns + 1):
            key = turn_key(base, n)
            turn = await self._turn(call, plan, base, key, messages, (taken[-1], given) if taken else None)
            taken.append(turn)
            given = len(messages)
            messages.append({"role": "assistant", "content": _kept(turn.content)})
            uses = [block for block in turn.content if block.get("type") == "tool_use"]
            _check_end(plan, turn)
            submitted = next((use for use in uses if _kind(tools, use) == "submit"), None)
            if submitted is not None or not uses:
                repair = self._book.entries.get(f"{key}/repair")
                if repair is None:
                    return _done(taken, submitted)
                messages.append(_repair(uses, submitted, _text(await self._book.value(repair))))
                continue
            results, calls = await self._results(call, base, key, uses, tools, operators=plan.operators)
            if calls:
                return {"calls": calls}
            messages.append({"role": "user", "content": results})
        raise ModelFailure(
            f"the agent {plan.agent!r} has had {plan.max_turns} turns and is at no answer", code="max_turns",
            hint="Give it more max_turns, or a smaller task.",
        )  # fmt: skip

    async def _turn(
        self, call: Call, plan: Plan, base: str, key: str, messages: list[JsonObject], earlier: tuple[Turn, int] | None
    ) -> Turn:
        if base in self._stopped:
            raise _Stopped
        self._asking.add(base)
        self._waits.changed()
        try:
            return await self._turns.take(plan, key, call.step, messages, earlier)
        finally:
            self._asking.discard(base)
            self._waits.changed()

    # -- tools ---------------------------------------------------------------------------------------------------------

    async def _results(
        self, call: Call, base: str, key: str, uses: list[JsonObject], tools: dict[str, Tool], *, operators: bool
    ) -> tuple[list[JsonObject], list[JsonObject]]:
        """Call the tools of a turn beside each other; return their results, and what the guest has to call."""
        turns = asyncio.Semaphore(AT_ONCE)
        calls: list[JsonObject] = []
        blocks: list[JsonObject] = [{} for _ in uses]

        async def one(n: int, use: JsonObject) -> None:
            async with turns:
                text, failed = await self._result(call, f"{key}/{n}", use, tools, operators=operators)
            blocks[n] = {"type": "tool_result", "tool_use_id": use["id"], "content": text[:MAX_RESULT]}
            if failed:
                blocks[n]["is_error"] = True
            self._inner[base] -= 1
            self._waits.changed()
            if base in self._stopped and not any(k.startswith(f"{base}{INSIDE}") for k in self._flying):
                raise _Stopped

        here = [(n, use) for n, use in enumerate(uses) if _kind(tools, use) != "function" or self._has(f"{key}/{n}")]
        self._inner[base] = len(here)
        try:
            async with asyncio.TaskGroup() as group:
                for n, use in here:
                    group.create_task(one(n, use))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None  # one is the reason, the others were cancelled by it
        finally:
            del self._inner[base]
        for n, use in enumerate(uses):
            if not blocks[n]:
                arguments = use["input"] if isinstance(use["input"], dict) else {}
                calls.append({"id": n, "name": tools[use["name"]].target, "arguments": arguments})
        return blocks, calls

    def _has(self, key: str) -> bool:
        return key in self._book.entries

    async def _result(
        self, call: Call, key: str, use: JsonObject, tools: dict[str, Tool], *, operators: bool
    ) -> tuple[str, bool]:
        """Return the text of a tool's result, and whether that is a failure."""
        entry, tool, given = self._book.entries.get(key), tools.get(str(use["name"])), use["input"]
        if entry is not None and entry.kind == "function":
            kept = msgspec.json.decode(_text(await self._book.value(entry)))
            return (kept["error"], True) if "error" in kept else (kept.get("text", ""), False)
        if tool is None:
            return f"There is no tool {use['name']!r}. There are: {', '.join(tools)}.", True
        if not isinstance(given, dict):
            return "The tool's input is no object.", True
        if entry is not None and entry.status in ("ok", "error"):
            failure = None if entry.error is None else msgspec.json.decode(entry.error, type=Failure)
            return _shown(Answer(await self._book.value(entry), failure))
        encoded = encode_plain({"kwargs": given})
        inner = Call(0, key, "child" if tool.kind == "workflow" else "tool", tool.target, Raw(encoded), call.step)
        decoded: JsonObject = msgspec.json.decode(encoded)
        return _shown(await self._call_tool(inner, decoded, codec.digest(decoded), operators))


def _opening(plan: Plan) -> list[JsonObject]:
    messages: list[JsonObject] = []
    for said, answer in plan.history:
        messages.append({"role": "user", "content": said or EMPTY})
        # Providers refuse texts of spaces.
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer.rstrip() or NOTHING}]})
    return [*messages, {"role": "user", "content": plan.prompt or EMPTY}]


def _kept(content: list[JsonObject]) -> list[JsonObject]:
    # Models give texts of nothing beside calls, which providers refuse when they get them back.
    kept = [block for block in content if block.get("type") != "text" or str(block.get("text", "")).strip()]
    return kept or [{"type": "text", "text": NOTHING}]


def _kind(tools: dict[str, Tool], use: JsonObject) -> str:
    tool = tools.get(str(use["name"]))
    return "" if tool is None else tool.kind


def _check_end(plan: Plan, turn: Turn) -> None:
    text = _said(turn)[:MAX_PARTIAL]
    match turn.stop_reason:
        case "refusal":
            why = f": {turn.details}" if turn.details else ""
            raise _Ended(f"the model {turn.model} refused to answer the agent {plan.agent!r}{why}", "refused", text)
        case "max_tokens":
            raise _Ended(
                f"an answer to the agent {plan.agent!r} was cut off at its max_tokens", "truncated", text,
                "Give the agent a larger max_tokens, or ask for less at once.",
            )  # fmt: skip
        case "model_context_window_exceeded":
            raise _Ended(
                f"the agent {plan.agent!r} has filled the context of {turn.model}", "context_window", text,
                "Give its tools smaller results, or split its task.",
            )  # fmt: skip
        case _:
            return


class _Ended(ModelFailure):
    """The model ended without an answer; `partial` is what it said."""

    def __init__(self, message: str, code: str, partial: str, hint: str = "") -> None:
        super().__init__(message, code=code, hint=hint)
        self.partial = partial


def _failed(call: Call, error: ModelFailure) -> Answer:
    message = f"{error.message.rstrip('.')}. {error.hint}".strip() if error.hint else error.message
    partial = error.partial if isinstance(error, _Ended) else ""
    return refuse(
        "AgentError", message[:4000], error.code, agent=call.name, partial=partial, retryable=error.retryable
    )  # fmt: skip


def _said(turn: Turn) -> str:
    return "".join(str(block.get("text", "")) for block in turn.content if block.get("type") == "text")


def _done(taken: list[Turn], submitted: JsonObject | None) -> JsonObject:
    usage = Usage()
    for turn in taken:
        usage = usage.plus(turn.usage)
    costs = [turn.cost_pico for turn in taken]
    known = [cost for cost in costs if cost is not None]
    done: JsonObject = {
        "model": taken[-1].model,
        "tokens_used": usage.total,
        "input_tokens": usage.prompt,
        "output_tokens": usage.output,
        "cache_read_tokens": usage.cache_read,
        "cache_write_tokens": usage.cache_write,
        "cost_usd": sum(known) / PICO if len(known) == len(costs) else None,
        "steps": len(taken),
    }
    found: JsonObject = {"done": done, "text": _said(taken[-1])}
    return found | ({"output": submitted["input"]} if submitted is not None else {})


def _repair(uses: list[JsonObject], submitted: JsonObject | None, mistake: str) -> JsonObject:
    text = f"This is not the result that was asked for: {mistake}. Call {SUBMIT} again with all of it."
    if submitted is None:
        return {"role": "user", "content": text}
    blocks: list[JsonObject] = [
        {
            "type": "tool_result",
            "tool_use_id": use["id"],
            "content": text if use is submitted else NOT_CALLED,
            "is_error": True,
        }
        for use in uses
    ]
    return {"role": "user", "content": blocks}


def _shown(answer: Answer) -> tuple[str, bool]:
    if answer.failure is not None:
        return f"{answer.failure.type}: {answer.failure.message}", True
    value: Json = plain(msgspec.json.decode(answer.value or b"null"))
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    if len(text) > MAX_RESULT:
        text = f"{text[: MAX_RESULT - 100]}\n[cut: {len(text)} characters in all]"
    return text or NOTHING, False


def _text(value: bytes | None) -> str:
    found: Any = plain(msgspec.json.decode(value or b'""'))
    return found if isinstance(found, str) else ""
