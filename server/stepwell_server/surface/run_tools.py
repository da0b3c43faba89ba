"""The tools that start runs, look at them and steer them."""

from dataclasses import replace

from stepwell.engine import StartOptions
from stepwell.engine.gating import is_operators
from stepwell.engine.pages import write_cursor
from stepwell.errors import Forbidden, InvalidArguments
from stepwell.model import JsonObject, Run, RunStatus
from stepwell.store.runs import CODE_NAME
from stepwell_server.authority import demands_person, find_doubt, needs_approval, needs_person
from stepwell_server.surface.arguments import (
    ApproveRun,
    CancelRun,
    GetRun,
    InvokeWorkflow,
    ListRuns,
    ResumeRun,
    RunCode,
    RunWorkflow,
)
from stepwell_server.surface.creating import prepare_code
from stepwell_server.surface.following import Follow, follow
from stepwell_server.surface.inclusion import include_parts, show_run
from stepwell_server.surface.questions import ASKED_KINDS
from stepwell_server.surface.replies import fit_list, reply, shorten
from stepwell_server.surface.table import Answer, Call

FAILED = frozenset({RunStatus.FAILED, RunStatus.DEAD})
RESUME_WAIT_S = 20.0
MAX_LISTED_ERROR = 300  # characters
ORIGIN = "client"
DOUBT_DECISIONS = ("retry", "value", "fail")


async def invoke_workflow(call: Call, given: InvokeWorkflow) -> Answer:
    """Start a run and wait a while for it."""
    await call.app.folder.refresh()
    started = await follow(call, lambda: _start(call, given), given.wait_seconds)
    return _answer(call, started, failing=True)


async def start_and_follow(
    call: Call, name: str, arguments: JsonObject, options: StartOptions, seconds: float
) -> Answer:
    """Start a run of a stored workflow, wait for it, and answer; a failed run makes a failed answer."""
    engine = call.app.engine
    return _answer(call, await follow(call, lambda: engine.start(name, arguments, options), seconds), failing=True)


async def run_workflow(call: Call, given: RunWorkflow) -> Answer:
    """Start a run and return at once."""
    await call.app.folder.refresh()
    return _answer(call, await _start(call, given))


async def _start(call: Call, given: InvokeWorkflow | RunWorkflow) -> Run:
    engine = call.app.engine
    options = StartOptions(
        run_id=given.run_id,
        session_id=given.session_id,
        user_id=given.user_id,
        idempotency_key=given.idempotency_key,
        budget_usd=given.budget_usd,
    )
    if isinstance(given, RunWorkflow):
        options = replace(options, pool=given.pool, labels=dict(given.labels))
    if given.from_run is None:
        if given.from_step is not None:
            raise InvalidArguments("`from_step` goes with `from_run`, the run whose steps are reused.")
        run = await engine.start(given.name, given.arguments, options)
        if call.app.settings.search.learn and (request := call.leads.take(call.context, given.name)) is not None:
            await call.app.catalog.note_lead(run.id, request)
        return run
    if given.arguments:
        raise InvalidArguments(
            "With `from_run` the input is that of the run.",
            hint="Leave arguments out; or leave from_run out to start with others.",
        )
    return await engine.start_again(given.from_run, options, workflow=given.name, from_step=given.from_step)


async def run_code(call: Call, given: RunCode) -> Answer:
    """Run code that is not stored as a workflow."""
    engine = call.app.engine
    if (preparing := await prepare_code(call, given.code)) is not None:
        return reply(preparing)
    followed = await follow(call, lambda: engine.start_code(given.code, given.arguments), given.wait_seconds)
    return _answer(call, followed, failing=True)


async def get_run(call: Call, given: GetRun) -> Answer:
    """Show a run as it is, or as it is after a wait."""
    engine = call.app.engine
    if given.wait_seconds > 0:
        followed = await follow(call, lambda: engine.get(given.run_id), given.wait_seconds)
        if not isinstance(followed, Run):
            return followed
        run = followed
    else:
        run = await engine.get(given.run_id)
    if not given.include and given.path is None and not given.offset:
        return _answer(call, run)
    return reply(await include_parts(call, run, given) | _next(call, run))


async def list_runs(call: Call, given: ListRuns) -> Answer:
    """List runs, newest first."""
    page = await call.app.engine.list(
        status=given.status,
        workflow=given.workflow,
        session_id=given.session_id,
        parent_id=given.parent_id,
        limit=given.limit,
        cursor=given.cursor,
    )
    runs: list[JsonObject] = [
        {
            "run_id": run.id,
            "workflow": run.workflow,
            "status": run.status.value,
            "steps_completed": run.steps_completed,
            "created_at": run.created_at,
            "updated_at": run.updated_at,
            "finished_at": run.finished_at,
            "error": shorten(run.error.message, MAX_LISTED_ERROR) if run.error else None,
            "waiting_for": [wait.kind for wait in run.waiting_for],
        }
        | ({"queued": run.queued} if run.queued else {})
        for run in page.items
    ]
    follow_up = 'get_run(run_id="...") shows one run' if runs else "No run fits. invoke_workflow starts one."
    shown, cut = fit_list(runs)
    cursor = write_cursor(page.items[cut - 1].created_at, page.items[cut - 1].id) if cut else page.next_cursor
    return reply({"runs": shown, "total": page.total, "next_cursor": cursor, "next": follow_up})


async def resume_run(call: Call, given: ResumeRun) -> Answer:
    """Let a run go on that has stopped."""
    engine = call.app.engine
    if given.decision in DOUBT_DECISIONS:
        _check_authority(call, await engine.get(given.run_id), given)

    async def resume() -> Run:
        return await engine.resume(
            given.run_id,
            given.decision,
            value=given.value,
            version=given.version,
            key=given.key,
            digest=given.digest,
            budget_usd=given.budget_usd,
            via=ORIGIN,
        )

    return _answer(call, await follow(call, resume, RESUME_WAIT_S))


def _check_authority(call: Call, run: Run, given: ResumeRun) -> None:
    doubt = find_doubt(run, given.key)
    if doubt is None or not needs_approval(call.app, run, doubt):
        return
    if needs_person(call.app, run, doubt):
        raise Forbidden(
            f"Only a person may decide about {doubt.name}: [policy] in stepwell.toml demands one to approve it.",
            hint=f"Tell the user to decide in a terminal: {_doubt_by_hand(run)}.",
        )
    if not given.digest:
        raise InvalidArguments(
            f"resume_run: `digest` is missing; {doubt.name} must be approved, and it says which call is decided.",
            hint=f'Call resume_run(run_id="{run.id}", decision="{given.decision}", key="{doubt.key}", '
            f'digest="{doubt.digest}") after the user has decided.',
        )


async def cancel_run(call: Call, given: CancelRun) -> Answer:
    """End a run."""
    return _answer(call, await call.app.engine.cancel(given.run_id, given.reason))


async def approve_run(call: Call, given: ApproveRun) -> Answer:
    """Decide what a run waits for, on the word of the client."""
    run = await call.app.engine.get(given.run_id)
    if demands_person(call.app, run):
        raise Forbidden(
            'Only a person may decide here: [policy] approvals is "person" in stepwell.toml.',
            hint=f"Tell the user to decide in a terminal: {_by_hand(run)}.",
        )
    _check_digest(run, given)
    _check_person(run, given)
    decided = await call.app.engine.decide(
        given.run_id,
        given.decision,
        value=given.value,
        key=given.key,
        digest=given.digest,
        reason=given.reason,
        reviewer=given.reviewer,
        via=ORIGIN,
    )
    return _answer(call, decided)


def _check_person(run: Run, given: ApproveRun) -> None:
    shown = next((wait for wait in run.waiting_for if wait.person and given.key in (None, wait.key)), None)
    if shown is None or (given.decision != "approve" and is_operators(shown.key)):
        return
    hint = f"Tell the user to decide in a terminal: {_by_hand(run)}"
    if is_operators(shown.key) and shown.context.get("hosts"):
        raise Forbidden(
            "Only a person may decide here: the call reaches a host that is not on the operator's list.",
            hint=f"{hint}; or the operator lists the host in stepwell.toml: [http] allow_hosts.",
        )
    raise Forbidden(
        f"Only a person may decide about {shown.name}: [policy] in stepwell.toml demands one.", hint=f"{hint}."
    )


def _check_digest(run: Run, given: ApproveRun) -> None:
    approvals = [wait for wait in run.waiting_for if wait.kind == "approval"]
    if given.digest or not approvals or (given.key and all(wait.key != given.key for wait in approvals)):
        return
    if len(approvals) == 1 and not is_operators(approvals[0].key):
        return
    shown = next((wait for wait in approvals if wait.key == given.key), approvals[0])
    raise InvalidArguments(
        "approve_run: `digest` is missing; it says which call exactly is decided.",
        hint=f'Call approve_run(run_id="{run.id}", decision="{given.decision}", key="{shown.key}", '
        f'digest="{shown.digest}") after the user has seen what is to be approved.',
    )


def _answer(call: Call, followed: Follow, *, failing: bool = False) -> Answer:
    if not isinstance(followed, Run):
        return followed
    return reply(show_run(followed) | _next(call, followed), failed=failing and followed.status in FAILED)


def _next(call: Call, run: Run) -> JsonObject:
    """Return another `next` where the client may not decide, and where ad hoc code could be kept."""
    if run.workflow == CODE_NAME and run.status is RunStatus.COMPLETED:
        keep = f'create_workflow(name="...", from_run="{run.id}", description="...")'
        return {"next": f"Done; use output. If it will be needed again, keep it: {keep}."}
    doubt = find_doubt(run)
    if doubt is not None and needs_person(call.app, run, doubt):
        return {"next": f"Only a person may decide. Tell the user to decide in a terminal: {_doubt_by_hand(run)}."}
    asked = [wait for wait in run.waiting_for if wait.kind in ASKED_KINDS]
    if not asked or not (asked[0].person or demands_person(call.app, run)):
        return {}
    return {"next": f"Only a person may decide. Tell the user to decide in a terminal: {_by_hand(run)}. Do not poll."}


def _by_hand(run: Run) -> str:
    return f"stepwell approve {run.id} (or reject, answer)"


def _doubt_by_hand(run: Run) -> str:
    return f"stepwell resume {run.id} --decision retry (or value, fail)"
