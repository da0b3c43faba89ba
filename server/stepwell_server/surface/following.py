"""Waiting for a run on behalf of a client: bounded, with progress, and with its questions put to the person."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError
from mcp.types import ElicitRequest, ElicitResult, InputRequiredResult

from stepwell.engine import Event
from stepwell.errors import Conflict, InvalidArguments
from stepwell.model import LIVE, Run
from stepwell_server.surface.eras import MODERN
from stepwell_server.surface.progress import progress_message
from stepwell_server.surface.questions import Asked, Decided, Question, find_question, question_form, read_answer
from stepwell_server.surface.table import Call

ANSWER_S = 120.0  # how long a form may stay open where the client answers within the same request
MIN_WAIT_S = 2.0  # after an answer, so that its consequence is seen
MAX_ROUNDS = 8  # questions in one call; clients stop at about ten
FIELD = "question"

Follow = Run | InputRequiredResult


async def follow(call: Call, start: Callable[[], Awaitable[Run]], seconds: float) -> Follow:
    """Start or find a run, wait for it, and return it as it then is; or return the question to be answered first.

    A call that brings an answer goes on with the run of its question instead of starting one.

    Raises:
        Conflict: the answer is to a question that is no longer open.
    """
    context = call.context
    if context is None or context.request_state is None:
        run = await start()
        return await _wait(call, run.id, time.monotonic() + seconds, 0)
    asked = Asked.load(context.request_state)
    return await _continue(call, context, asked)


async def _continue(call: Call, context: Context[Any, Any], asked: Asked) -> Follow:
    engine = call.app.engine
    question = asked.find(await engine.get(asked.asking_id))
    if question is None:
        raise Conflict(
            f"The question of run {asked.asking_id} was settled meanwhile; this answer was not used.",
            hint=f'Call get_run(run_id="{asked.run_id}").',
        )
    given = (context.input_responses or {}).get(FIELD)
    if not isinstance(given, ElicitResult):
        return _ask(context, asked.run_id, question, asked.left_s, asked.rounds)
    decided = read_answer(question.wait, given)
    if decided is None:
        return await engine.get(asked.run_id)
    try:
        await _decide(call, question, decided)
    except InvalidArguments:
        if asked.rounds >= MAX_ROUNDS:
            raise
        return _ask(context, asked.run_id, question, asked.left_s, asked.rounds + 1)
    return await _wait(call, asked.run_id, time.monotonic() + max(asked.left_s, MIN_WAIT_S), asked.rounds)


async def _wait(call: Call, run_id: str, deadline: float, rounds: int) -> Follow:
    engine, context = call.app.engine, call.context
    report = _reporter(context)
    while True:
        run = await engine.wait(run_id, max(0.0, deadline - time.monotonic()), report)
        if context is None or run.status not in LIVE or rounds >= MAX_ROUNDS or not can_ask(context):
            return run
        question = await find_question(engine, run)
        if question is None:
            return run
        rounds += 1
        left_s = max(0.0, deadline - time.monotonic())
        if is_modern(context):
            return _ask(context, run_id, question, left_s, rounds)
        decided = await _ask_now(context, question)
        if decided is None:
            return await engine.get(run_id)
        deadline = time.monotonic() + max(left_s, MIN_WAIT_S)
        try:
            await _decide(call, question, decided)
        except (Conflict, InvalidArguments):  # settled elsewhere while the form was open; or to be asked again
            continue


async def _decide(call: Call, question: Question, decided: Decided) -> None:
    await call.app.engine.decide(
        question.run.id,
        decided.decision,
        value=decided.value,
        key=question.wait.key,
        digest=question.wait.digest or None,
        reason=decided.reason,
        scope=decided.scope,
        via="elicitation",
    )


def _ask(
    context: Context[Any, Any], run_id: str, question: Question, left_s: float, rounds: int
) -> InputRequiredResult:
    form = ElicitRequest(params=question_form(question, context.protocol_version))
    wait = question.wait
    state = Asked(run_id, question.run.id, wait.key, wait.digest, round(left_s, 3), rounds)
    return InputRequiredResult(input_requests={FIELD: form}, request_state=state.dump())


async def _ask_now(context: Context[Any, Any], question: Question) -> Decided | None:
    form = question_form(question, context.protocol_version)
    try:
        async with asyncio.timeout(ANSWER_S):
            result = await context.session.elicit_form(form.message, form.requested_schema, context.request_id)
    except (TimeoutError, MCPError, ValueError):
        # No answer, a client that cannot ask after all, or no valid one: the run goes on waiting.
        return None
    return read_answer(question.wait, result)


def can_ask(context: Context[Any, Any]) -> bool:
    """Whether the client can show a form to its user."""
    declared = context.client_capabilities.elicitation if context.client_capabilities else None
    if declared is None or (declared.form is None and declared.url is not None):
        return False
    return is_modern(context) or context.session.can_send_request


def is_modern(context: Context[Any, Any]) -> bool:
    """Whether questions travel in results instead of requests to the client."""
    return (context.protocol_version or "") >= MODERN


def _reporter(context: Context[Any, Any] | None) -> Callable[[Event], Awaitable[None]] | None:
    if context is None:
        return None
    told = 0

    async def report(event: Event) -> None:
        # Every wait tells the whole timeline; numbers of events only grow, as the protocol wants of progress.
        nonlocal told
        if event.n <= told:
            return
        told = event.n
        if message := progress_message(event):
            await context.report_progress(event.n, None, message)

    return report
