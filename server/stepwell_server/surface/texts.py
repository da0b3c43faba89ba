"""What a model reads before it has called anything."""

from importlib import resources

_FOLDER = resources.files("stepwell_server") / "guide"
INSTRUCTIONS = (_FOLDER / "instructions.md").read_text("utf-8").strip()

DESCRIPTIONS = {
    "create_workflow": (_FOLDER / "create_workflow.md").read_text("utf-8").strip(),
    "search_workflows": (
        "Find stored workflows by intent, best first, each with a paste-ready call. Do this before solving a task "
        "anew. Ask in a sentence, not in keywords."
    ),
    "list_workflows": "List all stored workflows by name, without source.",
    "get_workflow": "Show a stored workflow: source, input schema, versions.",
    "delete_workflow": (
        "Delete a stored workflow. Runs under way keep their version. To change one, use create_workflow(replace=true)."
    ),
    "invoke_workflow": (
        "Run a stored workflow and wait for its result. If it is not finished in time, it goes on: the answer has the "
        "run_id, the status and the next call. A failed run is an error result."
    ),
    "run_workflow": "Start a stored workflow and return its run_id at once. Then get_run.",
    "get_run": (
        "Show a run: status, output, error, what it waits for. wait_seconds waits for its end. Large output: "
        'include=["output"] with path and offset.'
    ),
    "list_runs": "List runs, newest first.",
    "resume_run": (
        "Let a failed or cancelled run go on from its journal, or settle one in doubt (a call was sent and its answer "
        "lost; look first whether it took effect)."
    ),
    "approve_run": (
        "Approve, reject or answer what a run waits for, after the user has told you to. Pass the digest shown in "
        "waiting_for."
    ),
    "cancel_run": "End a run for good. What it has done stays done.",
    "run_code": (
        "Run Python once in the sandbox, without storing it: for trying out and one-offs. The value of the last line, "
        "or of `run(...)`, is the output; `arguments` are variables. Keep it with create_workflow(from_run=...)."
    ),
    "search_tools": "Find the tools that workflow code can call as tools.<name>(...), each with a paste-ready call.",
    "read_artifact": "Read what a run has saved with artifacts.save.",
    "emit_event": "Send a named event to runs, or to one; ctx.wait_for_event takes it, also if it waits later.",
    "get_guide": "Read a guide: authoring, durability, tools, approvals, errors, examples.",
}
