"""One turn of a model: from the journal, else asked for within the budgets, and recorded with what it cost."""

import asyncio
import random
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from stepwell.engine.agent_plan import MAX_TOKENS, Plan
from stepwell.engine.book import Book
from stepwell.engine.outcome import Answer
from stepwell.engine.recorded_turns import RecordedTurns
from stepwell.engine.services import Services
from stepwell.errors import BudgetExceeded, ModelFailure
from stepwell.model import JsonObject
from stepwell.model.aside import LARGE, Aside
from stepwell.model.text import clean_text
from stepwell.ports import Model, ModelRequest, ModelTurn, Usage
from stepwell.ports.models import PICO
from stepwell.sdk import codec
from stepwell.store import spending
from stepwell.store.journal import Entry
from stepwell.store.runs import RunRow
from stepwell.store.spending import Limit, NewCall

MAX_TRIES = 8
MAX_SENT = 3  # of requests that may have been billed and gave no answer
MAX_DELAY_S = 900.0  # that a server may ask for
FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 30.0
TOKENS_AROUND = 1000  # that a provider adds to a prompt, at most: roles, tools
PROGRESS_S = 1.0  # between two pieces of text that are shown
SHOWN_TEXT = 160  # characters


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn that is in the journal."""

    content: list[JsonObject]
    stop_reason: str
    usage: Usage
    model: str
    cost_pico: int | None
    details: str = ""

    def encode(self) -> bytes:
        """Return the value of its entry, which is codec JSON."""
        usage = self.usage
        return msgspec.json.encode(
            {
                "text": msgspec.json.encode(self.content).decode(),  # as text: it may hold any key
                "stop_reason": self.stop_reason,
                "usage": [usage.input, usage.output, usage.cache_read, usage.cache_write],
                "model": self.model,
                "cost_pico": self.cost_pico,
                "details": self.details,
            }
        )


def read_turn(value: bytes) -> Turn:
    """Return the turn of an entry's value."""
    found = msgspec.json.decode(value)
    return Turn(
        msgspec.json.decode(found["text"]), found["stop_reason"], Usage(*found["usage"]), found["model"],
        found["cost_pico"], found["details"],
    )  # fmt: skip


class Turns:
    """Asks models for one run."""

    def __init__(self, services: Services, run: RunRow, book: Book) -> None:
        self._services = services
        self._run = run
        self._book = book
        self._aside = Aside()
        self._adopted: list[int] = run.options.get("adopted", [])
        self._recorded = RecordedTurns(services.database, run.options.get("turns_from"), book)
        # The rows of what is asked for now. Transactions keep it, so that it fits the costs that they see.
        self._reserved: set[int] = set()
        self._ended = asyncio.Event()

    async def take(
        self, plan: Plan, key: str, step: str, messages: list[JsonObject], earlier: tuple[Turn, int] | None
    ) -> Turn:
        """Return the turn of a key; `earlier` is the one before and how many messages it was given.

        Raises:
            BudgetExceeded: it could cost more than is left.
            ModelFailure: no model gave an answer.
        """
        known = self._book.entries.get(key)
        if known is not None and known.status == "ok":
            return read_turn(await self._book.value(known) or b"")
        tools = [tool.described() for tool in plan.tools]
        sizes = await self._aside.run(LARGE, _measure, plan.system, tools, messages, earlier)
        entry = self._book.host_entry(key, "turn", plan.agent, sizes.digest, step)
        reused = await self._book.take_cut(entry.label, self._adopted, "ok")
        value = reused.value if reused is not None else await self._recorded.find(plan.agent, sizes.digest)
        if value is not None:
            self._book.settle(entry, Answer(value))
            return read_turn(value)
        failure: ModelFailure | None = None
        for name in [plan.model, *plan.inference.get("fallback_models", [])]:
            try:
                model = self._services.models.find_model(name)
                most = plan.inference.get("max_tokens", MAX_TOKENS)
                request = ModelRequest(model, plan.system, messages, tools, most, plan.inference)
                return await self._ask(plan, entry, request, sizes.prompt(model))
            except ModelFailure as error:
                failure = error
                if not error.retryable and error.code not in ("missing_key", "missing_extra", "unknown_model"):
                    break
        assert failure is not None
        raise failure

    async def _ask(self, plan: Plan, entry: Entry, request: ModelRequest, prompt: int) -> Turn:
        book, name = self._book, request.model.name
        unanswered = tries = 0
        while True:
            tries += 1
            ident = await self._reserve(plan, entry, request, prompt)
            book.event("model.asked", {"agent": plan.agent, "model": name, "key": entry.key})
            try:
                turn = await self._services.models.ask(request, self._shown(plan.agent))
                return self._settle(plan, entry, request.model, ident, turn)
            except ModelFailure as error:
                unanswered += error.sent
                sent = error.sent
                self._free([ident], lambda c, ident=ident, sent=sent: spending.drop_call(c, ident, sent=sent))
                delay = _delay(error, tries, unanswered)
                data: JsonObject = {"agent": plan.agent, "model": name, "error": clean_text(error.message[:500])}
                book.event("model.failed", data | {"code": error.code, "again_s": delay, "billed": error.sent or None})
                if delay is None:
                    raise
            except BaseException:
                self._free([ident])  # it counts with the most that it can cost
                raise
            await asyncio.sleep(delay)

    async def _reserve(self, plan: Plan, entry: Entry, request: ModelRequest, prompt: int) -> int:
        """Store the request with the most it can cost; return its row when it is on disk.

        What others of the run have asked for counts with the most it can cost, which is more than it will: where that
        leaves too little, they are waited for.
        """
        while True:
            ended = self._ended
            stored, short, others = await self._try_reserve(plan, entry, request, prompt)
            if stored is not None:
                return stored
            if not others:
                break
            await ended.wait()
        model = request.model
        if model.price is None:
            raise _unpriced(model, short[0])
        if short[0].unknown:
            raise _uncounted(short[0])
        raise self._exceeded(plan, model, short[0], model.price.most(prompt, request.max_tokens))

    async def _try_reserve(
        self, plan: Plan, entry: Entry, request: ModelRequest, prompt: int
    ) -> tuple[int | None, list[Limit], bool]:
        """Return the row, what is left too little of, and whether others of the run count with what they can cost."""
        run, model, now = self._run, request.model, time.time()
        most = None if model.price is None else model.price.most(prompt, request.max_tokens)
        call = NewCall(
            run.id, entry.key, plan.agent, entry.step, run.session_id, model.name, now, most
        )  # fmt: skip
        stored: list[int] = []
        short: list[Limit] = []
        others: list[int] = []

        def write(connection: sqlite3.Connection) -> None:
            limits = self._limits(connection, plan, now)
            short.extend(x for x in limits if most is None or x.unknown or x.spent_pico + most > x.limit_pico)
            others.extend(self._reserved)
            if not short:
                stored.append(spending.add_call(connection, call))
                self._reserved.update(stored)

        self._book.write(write)
        try:
            await self._book.durable()
        except asyncio.CancelledError:
            self._free(stored)  # which is there when this is written
            raise
        return (stored[0] if stored else None), short, bool(others)

    def _free(self, rows: list[int], write: Callable[[sqlite3.Connection], None] = lambda _: None) -> None:
        """Let others look again at what is left, after what `write` says of the cost."""

        def free(connection: sqlite3.Connection) -> None:
            write(connection)
            self._reserved.difference_update(rows)

        self._book.write(free)
        ended, self._ended = self._ended, asyncio.Event()
        ended.set()

    def _limits(self, connection: sqlite3.Connection, plan: Plan, now: float) -> list[Limit]:
        limits = spending.list_limits(connection, self._run.id)
        if plan.budget_usd is not None:
            spent, unknown = spending.spent_by_agent(connection, self._run.id, plan.agent)
            what = f"the budget of the agent {plan.agent!r}"
            limits.append(Limit(what, round(plan.budget_usd * PICO), spent, unknown))
        if (day := self._services.models.budgets.per_day) is not None:
            midnight = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
            limits.append(
                Limit("the day's budget", round(day * PICO), spending.spent_since(connection, midnight.timestamp()))
            )
        return limits

    def _exceeded(self, plan: Plan, model: Model, short: Limit, most: int) -> BudgetExceeded:
        needed = short.spent_pico + most
        message = (
            f"{short.what} of {_dollars(short.limit_pico)} does not cover the next call of the agent {plan.agent!r}: "
            f"{_dollars(short.spent_pico)} is spent or reserved, and one turn of {model.name} can cost up to "
            f"{_dollars(most)}, so {_dollars(needed)} would be needed"
        )
        resume = f"resume_run(run_id={self._run.id!r}"
        if short.what == spending.OWN:
            hint = (
                f"{resume}, budget_usd={_round_up(needed)}) goes on from here. A lower max_tokens makes a turn cheaper."
            )
        elif short.what == "the day's budget":
            hint = f"{resume}) goes on from here tomorrow (UTC), or when the operator has raised budget_usd_per_day."
        else:
            hint = f"Raise it, or lower the agent's max_tokens; then {resume}) goes on from here."
        return BudgetExceeded(message, hint=hint)

    def _settle(self, plan: Plan, entry: Entry, model: Model, ident: int, turn: ModelTurn) -> Turn:
        usage = turn.usage
        cost = None if model.price is None or not turn.usage_known else model.price.cost(usage)
        kept = Turn(turn.content, turn.stop_reason, usage, model.name, cost, clean_text(turn.details[:1000]))
        tokens = (usage.input, usage.output, usage.cache_read, usage.cache_write)
        # Together in one transaction: what is recorded is paid, and what is paid is recorded.
        self._book.settle(entry, Answer(kept.encode()))
        self._free([ident], lambda c: spending.settle_call(c, ident, self._run.id, tokens, cost))
        self._book.event(
            "model.answered",
            {
                "agent": plan.agent, "model": model.name, "key": entry.key, "stop_reason": turn.stop_reason,
                "tokens": usage.total, "cost_usd": None if cost is None else cost / PICO,
            },
        )  # fmt: skip
        return kept

    def _shown(self, agent: str) -> Any:
        said, shown_at = "", time.monotonic()

        def show(text: str) -> None:
            nonlocal said, shown_at
            said = (said + text)[-SHOWN_TEXT:]
            now = time.monotonic()
            if now - shown_at >= PROGRESS_S:
                shown_at = now
                line = clean_text(" ".join(said.split()))
                self._book.event("progress", {"done": None, "total": None, "message": f"{agent}: {line}"})

        return show


@dataclass(frozen=True, slots=True)
class _Sizes:
    digest: str
    whole: int
    """The most tokens that the request can have: no token is shorter than a byte."""
    counted: int | None
    """The same from the provider's own count of the turn before, which holds for the model that gave it."""
    by: str

    def prompt(self, model: Model) -> int:
        return self.whole if self.counted is None or self.by != model.name else min(self.whole, self.counted)


def _measure(
    system: str, tools: list[JsonObject], messages: list[JsonObject], earlier: tuple[Turn, int] | None
) -> _Sizes:
    whole = len(msgspec.json.encode([system, tools, messages])) + TOKENS_AROUND
    digest = codec.digest_in_parts([system, tools, messages])
    if earlier is None or not earlier[0].usage.prompt:
        return _Sizes(digest, whole, None, "")
    turn, given = earlier
    since = len(msgspec.json.encode(messages[given:])) + TOKENS_AROUND
    return _Sizes(digest, whole, turn.usage.prompt + since, turn.model)


def _delay(error: ModelFailure, tries: int, unanswered: int) -> float | None:
    """Return the seconds until it is asked again; None if it is not."""
    if not error.retryable or tries >= MAX_TRIES or unanswered >= MAX_SENT:
        return None
    if error.retry_s is not None:
        return error.retry_s if error.retry_s <= MAX_DELAY_S else None
    return min(FIRST_DELAY_S * 2 ** (tries - 1), LONGEST_DELAY_S) * random.uniform(0.75, 1.0)  # noqa: S311  no secret


def _unpriced(model: Model, limit: Limit) -> ModelFailure:
    return ModelFailure(
        f"{limit.what} cannot be held: the price of {model.name} is not known",
        code="unknown_price",
        hint=f'The operator sets it in stepwell.toml, in dollars for a million tokens: [models.prices."{model.name}"] '
        "input = ..., output = ...",
    )


def _uncounted(limit: Limit) -> ModelFailure:
    return ModelFailure(
        f"{limit.what} cannot be held: what earlier calls that count for it have cost is not known",
        code="unknown_cost",
        hint="Their model had no price, or its endpoint does not count tokens. Leave the budget out, or use another.",
    )


def _dollars(pico: int) -> str:
    return f"${pico / PICO:.6f}".rstrip("0").rstrip(".") if pico else "$0"


def _round_up(pico: int) -> float:
    return -(-pico // 10**8) / 10**4  # to a hundredth of a cent
