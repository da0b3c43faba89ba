"""Runs and workflows as the outside gets them: MCP results, `--output json`, the handles inside of workflows."""

import json
import time
from dataclasses import asdict
from typing import Any

from stepwell.engine import RunItem, Spent
from stepwell.model import Json, JsonObject, Run, RunStatus, Version, Wait, Workflow
from stepwell.model.usage import Usage
from stepwell.ports.limits import declared_limits
from stepwell.ports.models import PICO

MAX_RESULT = 20_000  # characters of a whole result
MAX_OUTPUT = 12_000  # of one value in it
MAX_CONTEXT = 4_000
MAX_INPUT = 2_000


def run_result(run: Run) -> dict[str, Any]:
    """Return the run as MCP results show it; what is too large is cut and says how to get it."""
    shown: dict[str, Any] = {
        "run_id": run.id,
        "workflow": run.workflow,
        "version": run.version[:12],
        "status": run.status.value,
        "output": fit(run.output, MAX_OUTPUT, run.id, "output"),
        "error": None if run.error is None else run.error.describe(),
        "step_results": fit(run.step_results, MAX_OUTPUT // 2, run.id, "step_results"),
        "completed_steps": list(run.completed_steps[-100:]),
        "skipped_steps": list(run.skipped_steps[-100:]),
        "tokens_used": run.tokens_used,
        "cost_usd": run.cost_usd,
        "elapsed_seconds": elapsed_seconds(run),
        "terminated": run.terminated,
        "termination_reason": run.termination_reason,
        "session_id": run.session_id,
        "waiting_for": [_wait(wait) for wait in run.waiting_for[:20]],
        "next": next_step(run),
    }
    if run.status is RunStatus.DEAD:
        shown["failures"] = run.failures
        shown["input"] = fit(run.input, MAX_INPUT, run.id, "input")
    if run.from_run is not None:
        shown["from_run"] = run.from_run
    if run.sandbox_level is not None:
        shown["sandbox"] = run.sandbox_level
    if run.queued is not None:
        shown["queued"] = run.queued
    if run.last_logs:
        shown["last_logs"] = list(run.last_logs)
    if run.warnings:
        shown["warnings"] = list(run.warnings)
    return _within_limit(shown)


def spent_result(sums: Spent) -> JsonObject:
    """Return tokens and dollars; `in_doubt_usd` is the most that lost answers can have cost besides."""
    return {
        "calls": sums.calls,
        "input_tokens": sums.input_tokens + sums.cache_read_tokens + sums.cache_write_tokens,
        "output_tokens": sums.output_tokens,
        "cost_usd": None if sums.cost_pico is None else sums.cost_pico / PICO,
        "in_doubt_usd": sums.in_doubt_pico / PICO,
    }


def elapsed_seconds(run: Run | RunItem) -> float:
    """Return the seconds from the run's first start to its end, or to now."""
    elapsed = (run.finished_at or time.time()) - (run.started_at or run.created_at)
    return round(max(0.0, elapsed), 3)


def _within_limit(shown: dict[str, Any]) -> dict[str, Any]:
    """Cut what is left too long: many waits, long prompts, long names of steps."""
    if len(json.dumps(shown, ensure_ascii=False)) <= MAX_RESULT:
        return shown
    for name in ("completed_steps", "skipped_steps"):
        shown[name] = [step[:100] for step in shown[name][-20:]]
    shown["waiting_for"] = [
        wait | {"prompt": wait["prompt"][:200], "context": None, "options": wait["options"][:5], "cut": True}
        for wait in shown["waiting_for"]
    ]
    return shown


def fit(value: Json, limit: int, run_id: str, part: str) -> Json:
    """Return the value, or where its JSON is longer than `limit` characters, a note that says how to read it."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= limit:
        return value
    call = f"get_run(run_id={run_id!r}, include=[{part!r}], path='', offset=0)"
    return {"cut": True, "characters": len(text), "begins": text[: limit // 4], "rest": call}


def next_step(run: Run) -> str:
    """Return one sentence: what the reader should do now."""
    get = f"get_run(run_id={run.id!r}, wait_seconds=30)"
    match run.status:
        case RunStatus.COMPLETED:
            return "Done; use output."
        case RunStatus.TERMINATED:
            return "Done: the workflow ended itself early, see termination_reason."
        case RunStatus.PENDING | RunStatus.RUNNING:
            return f"Still working: call {get}." if run.queued is None else f"Queued, {run.queued}. Call {get}."
        case RunStatus.SLEEPING:
            return f"Sleeps until {_when(run)}; it goes on by itself while a server runs. Tell the user, do not poll."
        case RunStatus.WAITING:
            return _next_for_waits(run, get)
        case RunStatus.IN_DOUBT:
            return (
                "A call's answer was lost. Find out whether it had its effect, then call resume_run("
                f"run_id={run.id!r}, decision='retry' | 'value' | 'fail')."
            )
        case RunStatus.REJECTED:
            return "A person rejected it, see error. Do not start it again unasked."
        case RunStatus.CANCELLED:
            return f"Cancelled. resume_run(run_id={run.id!r}) goes on from its last step."
        case RunStatus.FAILED | RunStatus.DEAD:
            return _next_for_failed(run)


def _next_for_failed(run: Run) -> str:
    if run.error is not None and run.error.code == "budget_exceeded":
        return "Tell the user what it has cost and would need, see error; if they agree, do what its hint says."
    discard = f"; resume_run(run_id={run.id!r}, decision='discard') puts it away" if run.status == "dead" else ""
    return (
        "Mend what error says (create_workflow with replace=true for a fix, then start anew), or call "
        f"resume_run(run_id={run.id!r}) to try again from the failed step{discard}."
    )


def _next_for_waits(run: Run, get: str) -> str:
    for wait in run.waiting_for:
        if wait.kind == "approval":
            which = f"key={wait.key!r}, digest={wait.digest!r}"
            call = f"approve_run(run_id={run.id!r}, decision='approve' | 'reject', {which})"
            return f"Show the user what waits for approval and ask; then call {call}. Do not decide for them or poll."
        if wait.kind == "input":
            call = f"approve_run(run_id={run.id!r}, decision='answer', value=..., key={wait.key!r})"
            return f"Ask the user: {wait.prompt[:200]!r}; then call {call}. Do not poll."
    for wait in run.waiting_for:
        if wait.kind == "child":
            child = wait.context["run_id"]
            return f"Waits for its child: call get_run(run_id={child!r}) and do what its `next` says."
        if wait.kind == "event":
            return (
                f"Waits for the event {wait.name!r}: emit_event(name={wait.name!r}, payload=...) sends it. Do not poll."
            )
    return f"Tell the user that it waits; {get} looks again."


def _when(run: Run) -> str:
    until = min((wait.until for wait in run.waiting_for if wait.until is not None), default=None)
    return "its timer fires" if until is None else time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(until))


def _wait(wait: Wait) -> JsonObject:
    shown = wait.describe()
    text = json.dumps(shown["context"], ensure_ascii=False)
    if len(text) > MAX_CONTEXT:
        shown["context"] = {"cut": True, "characters": len(text), "begins": text[: MAX_CONTEXT // 2]}
    return shown


def workflow_summary(workflow: Workflow) -> dict[str, Any]:
    """Return a workflow as it is listed and found."""
    return {
        "name": workflow.name,
        "description": workflow.description[:300],
        "signature": workflow.version.signature,
        "call": paste_call(workflow),
        "tags": list(workflow.tags),
        "version": workflow.version.hash[:12],
    } | _use(workflow.usage)


def _use(usage: Usage) -> dict[str, Any]:
    """Return how often a workflow has run and how that went; nothing for one that never has."""
    if usage.last_run_at is None:
        return {}
    return {"runs": usage.completed + usage.failed, "success_rate": usage.success_rate}


def workflow_result(workflow: Workflow, *, source: bool) -> dict[str, Any]:
    """Return all that is known of a workflow."""
    version = workflow.version
    shown = workflow_summary(workflow) | {
        "description": workflow.description,
        "parameters": version.schema,
        "returns": version.returns,
        "returns_description": version.returns_description,
        "entry": version.entry,
        "uses": version.manifest,
        "limits": declared_limits(version.options),
        "intents": list(workflow.intents),
        "usage": _usage(workflow.usage),
        "origin": workflow.origin,
        "pinned": workflow.pinned,
        "versions": [found[:12] for found in workflow.versions],
        "warnings": [{"code": w.code, "line": w.line, "message": w.message} for w in version.warnings],
    }
    if version.manifest.get("dependencies"):
        shown["packages"] = _packages(version)
    return shown | ({"source": version.source} if source else {})


def _usage(usage: Usage) -> dict[str, Any]:
    moments = {"last_run_at": _moment(usage.last_run_at), "last_error_at": _moment(usage.last_error_at)}
    return asdict(usage) | moments | {"learned": list(usage.learned)}


def _moment(at: float | None) -> str | None:
    return None if at is None else time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))


def _packages(version: Version) -> dict[str, Any]:
    lock = version.lock
    if lock is None:
        state = "not locked: create the workflow again with the same source, which finds and installs them"
        return {"declared": version.manifest["dependencies"], "state": state}
    return {
        "declared": version.manifest["dependencies"],
        "state": "locked",
        "locked": [f"{file.name} {file.version}" for file in lock.files],
        "python": lock.python,
        "platform": lock.platform,
        "environment": lock.id,
    }


def paste_call(workflow: Workflow) -> str:
    """Return an `invoke_workflow` call with a place for every required argument."""
    return f"invoke_workflow(name={workflow.name!r}, arguments={_example(workflow.version)})"


def _example(version: Version) -> str:
    parts = [f'"{p.name}": {_placeholder(p.schema)}' for p in version.parameters if p.required]
    return "{" + ", ".join(parts) + "}"


def _placeholder(schema: JsonObject) -> str:
    if "enum" in schema:
        return json.dumps(schema["enum"][0])
    examples = {"integer": "0", "number": "0.0", "boolean": "false", "array": "[...]", "object": "{...}"}
    return examples.get(str(schema.get("type")), '"..."')
