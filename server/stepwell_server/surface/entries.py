"""The fixed set of tools, in the order in which clients see them."""

from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel

from stepwell_server.surface import arguments, other_tools, run_tools, workflow_tools
from stepwell_server.surface.table import Answer, Call, Entry, Hints
from stepwell_server.surface.texts import DESCRIPTIONS

_READS = Hints(read_only=True, idempotent=True)
_RUNS = Hints(destructive=True, open_world=True)  # a workflow may do whatever its tools can
ALWAYS_LOADED = frozenset({"search_workflows", "invoke_workflow", "create_workflow", "get_run"})


def make_entries() -> dict[str, Entry]:
    """Return the tools by name."""
    entries = [
        _entry("Search workflows", arguments.SearchWorkflows, workflow_tools.search_workflows, _READS),
        _entry("Run a workflow", arguments.InvokeWorkflow, run_tools.invoke_workflow, _RUNS),
        _entry("Create a workflow", arguments.CreateWorkflow, workflow_tools.create_workflow, Hints(idempotent=True)),
        _entry("Show a run", arguments.GetRun, run_tools.get_run, _READS),
        _entry("List workflows", arguments.ListWorkflows, workflow_tools.list_workflows, _READS),
        _entry("Show a workflow", arguments.GetWorkflow, workflow_tools.get_workflow, _READS),
        _entry(
            "Delete a workflow",
            arguments.DeleteWorkflow,
            workflow_tools.delete_workflow,
            Hints(destructive=True, idempotent=True),
        ),
        _entry("Start a workflow", arguments.RunWorkflow, run_tools.run_workflow, _RUNS),
        _entry("Run code", arguments.RunCode, run_tools.run_code, _RUNS),
        _entry("List runs", arguments.ListRuns, run_tools.list_runs, _READS),
        _entry("Resume a run", arguments.ResumeRun, run_tools.resume_run, _RUNS),
        _entry("Approve, reject or answer", arguments.ApproveRun, run_tools.approve_run, _RUNS),
        _entry("Cancel a run", arguments.CancelRun, run_tools.cancel_run, Hints(destructive=True, idempotent=True)),
        _entry("Search tools", arguments.SearchTools, other_tools.search_tools, _READS),
        _entry("Read an artifact", arguments.ReadArtifact, other_tools.read_artifact, _READS),
        _entry("Emit an event", arguments.EmitEvent, other_tools.emit_event, Hints(destructive=True)),
        _entry("Read a guide", arguments.GetGuide, other_tools.get_guide, _READS),
    ]
    return {entry.name: entry for entry in entries}


def _entry(
    title: str, model: type[BaseModel], handler: Callable[[Call, Any], Awaitable[Answer]], hints: Hints
) -> Entry:
    name: str = handler.__name__  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]  a function
    return Entry(name, title, DESCRIPTIONS[name], model, handler, hints, always_load=name in ALWAYS_LOADED)
