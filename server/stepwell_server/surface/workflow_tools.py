"""The tools over the catalogue."""

import asyncio

from stepwell.catalog.catalog import Created
from stepwell.catalog.drawing import draw
from stepwell.catalog.from_script import make_module
from stepwell.errors import InvalidArguments, NotFound
from stepwell.model import JsonObject, RunStatus, Warn, Workflow
from stepwell.search.words import has_words
from stepwell_server.results import workflow_result, workflow_summary
from stepwell_server.surface.arguments import (
    CreateWorkflow,
    DeleteWorkflow,
    GetWorkflow,
    ListWorkflows,
    SearchWorkflows,
)
from stepwell_server.surface.creating import create
from stepwell_server.surface.paging import page
from stepwell_server.surface.replies import fit_list, reply, shorten
from stepwell_server.surface.table import Answer, Call

MAX_WARNINGS = 20  # shown
MAX_PROBLEMS = 10  # files of the home named
MAX_TEXT = 500  # characters of one warning or problem
SOURCE_BYTES = 14_000  # of a source in one result
MAX_GRAPH, MAX_MERMAID = 1_500, 3_000  # characters
MAX_SIGNATURE = 800  # characters


async def create_workflow(call: Call, given: CreateWorkflow) -> Answer:
    """Store a workflow, or say what storing it would do."""
    source, doubts = await _source(call, given)
    created = await create(call, given, source)
    if not isinstance(created, Created):
        return reply(created)
    shown = workflow_result(created.workflow, source=False)
    warnings = (*doubts, *created.warnings)
    shown["warnings"] = _warnings(warnings)
    done: JsonObject = {"created": created.created, "replaced": created.replaced}
    if given.dry_run:
        done["dry_run"] = True
    if created.similar:
        done["similar"] = list(created.similar)
    summary = workflow_summary(created.workflow)
    if created.created and not created.workflow.intents:
        done["intents_hint"] = "Three example requests in `intents` (with replace=true) make it much easier to find."
    done["next"] = _next_after_create(given, summary["call"], bool(warnings))
    return reply(shown | done)


async def search_workflows(call: Call, given: SearchWorkflows) -> Answer:
    """Find workflows by intent."""
    await call.app.folder.refresh()
    found = await call.app.catalog.search(given.query, given.limit)
    call.leads.remember(call.context, given.query, [hit.workflow.name for hit in found.items])
    results = [_summary(hit.workflow) | {"score": hit.score, "why": hit.why} for hit in found.items]
    if not has_words(given.query):
        follow = "The query has no words. Say what you want to do; list_workflows() lists all there are."
    elif found.low_confidence:
        follow = "Nothing fits well. Solve the task, then keep the solution with create_workflow."
    else:
        follow = f"If it fits: {results[0]['call']}. Details: get_workflow(name=...). Else create_workflow."
    shown, _ = fit_list(results)
    how: JsonObject = {"mode": found.mode, "model": found.model, "pending": found.pending}
    return reply({"workflows": shown} | how | {"low_confidence": found.low_confidence, "next": follow})


async def list_workflows(call: Call, given: ListWorkflows) -> Answer:
    """List what is stored."""
    report = await call.app.folder.refresh()
    listed = await call.app.catalog.list(given.limit, given.cursor, given.tag, given.only)
    shown, cut = fit_list([_summary(workflow) for workflow in listed.items])
    cursor = listed.items[cut - 1].name if cut else listed.next_cursor
    result: JsonObject = {"workflows": shown, "total": listed.total, "next_cursor": cursor}
    if report.problems:
        result["problems"] = [
            {"file": problem.path.name, "line": problem.line, "message": shorten(problem.message, MAX_TEXT)}
            for problem in report.problems[:MAX_PROBLEMS]
        ]
    return reply(result)


async def get_workflow(call: Call, given: GetWorkflow) -> Answer:
    """Show one workflow with its source."""
    await call.app.folder.refresh()
    workflow = await call.app.catalog.get(given.name, given.version)
    part = page(workflow.version.source, "", given.offset, SOURCE_BYTES)
    shown = workflow_result(workflow, source=False) | {"source": part.value}
    if given.offset == 0:
        shown |= await asyncio.to_thread(_drawn, workflow)
    if part.next_offset is not None:
        following = (
            f'get_workflow(name="{workflow.name}", version="{workflow.version.hash}", offset={part.next_offset})'
        )
        shown["more"] = {"source": {"offset": given.offset, "total": part.total, "next": following}}
    return reply(shown)


async def delete_workflow(call: Call, given: DeleteWorkflow) -> Answer:
    """Hide a workflow; runs that hold its versions go on."""
    if await call.app.catalog.delete(given.name):
        note = "Runs under way keep their version; the name can be created anew."
        return reply({"deleted": True, "name": given.name, "note": note})
    try:
        await call.app.catalog.get(given.name)
    except NotFound as error:
        return reply({"deleted": False, "error": error.describe()}, failed=True)
    return reply({"deleted": False, "name": given.name})


def _drawn(workflow: Workflow) -> JsonObject:
    # A thread: a large source is parsed for it.
    drawing = draw(workflow)
    if len(drawing.text) <= MAX_GRAPH and len(drawing.mermaid) <= MAX_MERMAID:
        return {"graph": drawing.text, "mermaid": drawing.mermaid}
    more = f"in a terminal: stepwell graph {workflow.name} [--mermaid]"
    # Half a chart is none.
    return {"graph": f"{drawing.text[:MAX_GRAPH]}\n... {more}", "mermaid": None}


def _summary(workflow: Workflow) -> JsonObject:
    summary = workflow_summary(workflow)
    return summary | {name: shorten(summary[name], MAX_SIGNATURE) for name in ("signature", "call")}


async def _source(call: Call, given: CreateWorkflow) -> tuple[str, tuple[Warn, ...]]:
    """Return what is to be stored, and what speaks against it."""
    if given.from_run is None:
        if given.source is None:
            raise InvalidArguments(
                "create_workflow: `source` is missing (text: a Python module with a top-level `run` function).",
                hint='Call it as create_workflow(name="...", source="def run(url: str) -> dict: ...").',
            )
        return given.source, ()
    if given.source is not None:
        raise InvalidArguments(
            "create_workflow: give `source` or `from_run`, not both.", hint="Leave `from_run` out to store `source`."
        )
    run = await call.app.engine.get(given.from_run)
    version = await call.app.catalog.version(run.version)
    source = make_module(version.source, run.input or {}) if version.entry_kind == "script" else version.source
    if run.status in (RunStatus.COMPLETED, RunStatus.TERMINATED):
        return source, ()
    why = f" ({run.error.type}: {run.error.message})" if run.error is not None else ""
    return source, (Warn("not_completed", f"Run {run.id}, whose code this is, is {run.status}{why}."),)


def _next_after_create(given: CreateWorkflow, call_form: str, warned: bool) -> str:
    if given.dry_run:
        return "Nothing was stored. Call create_workflow again without dry_run."
    mend = "Mend what the warnings say with create_workflow(..., replace=true), or run" if warned else "Run"
    return f"{mend} it: {call_form}"


def _warnings(warnings: tuple[Warn, ...]) -> list[JsonObject]:
    shown: list[JsonObject] = [
        {"code": warning.code, "line": warning.line, "message": shorten(warning.message, MAX_TEXT)}
        for warning in warnings[:MAX_WARNINGS]
    ]
    if len(warnings) > MAX_WARNINGS:
        shown.append({"code": "more", "line": None, "message": f"{len(warnings) - MAX_WARNINGS} more"})
    return shown
