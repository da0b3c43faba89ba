"""What each tool takes. Clients are shown these models as JSON Schema; unknown arguments are refused."""

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

DEFAULT_WAIT_S = 20.0
MAX_WAIT_S = 45.0  # clients give up at about 60 s

Include = Literal["timeline", "journal", "logs", "steps", "step_results", "output", "input", "spending"]
Status = Literal[
    "pending", "running", "sleeping", "waiting", "in_doubt",
    "completed", "terminated", "failed", "rejected", "cancelled", "dead",
]  # fmt: skip


def _parse_object(value: Any) -> Any:
    # Models often send the arguments object as JSON text.
    if not isinstance(value, str):
        return value
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        raise PydanticCustomError("json_object", "a JSON object") from None
    if not isinstance(parsed, dict):
        raise PydanticCustomError("json_object", "a JSON object")
    return parsed  # pyright: ignore[reportUnknownVariableType]


def _check_text(value: str) -> str:
    if "\0" in value:
        raise PydanticCustomError("nul", "text without NUL bytes")
    return value


Text = Annotated[str, AfterValidator(_check_text)]
WorkflowName = Annotated[Text, Field(min_length=1, max_length=200, description="Name of a stored workflow")]
RunId = Annotated[Text, Field(min_length=1, max_length=200, description="Id of a run")]
Inputs = Annotated[
    dict[str, Any],
    BeforeValidator(_parse_object),
    Field(description='The workflow\'s inputs by name, e.g. {"url": "https://..."}'),
]
Wait = Annotated[float, Field(ge=0, le=MAX_WAIT_S, description="Longest wait for the result; the run goes on after it")]
Cursor = Annotated[Text | None, Field(max_length=500, description="next_cursor of the page before")]
Offset = Annotated[int, Field(ge=0, le=10**12)]


class Arguments(BaseModel):
    """Arguments of one tool."""

    # Built at first use: clients wait for the first answer, not for all of these.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class CreateWorkflow(Arguments):
    """Arguments of `create_workflow`."""

    name: Annotated[Text, Field(min_length=1, max_length=200, description="snake_case, says what it does")]
    source: Annotated[
        str | None, Field(description="Python module with a top-level `run` function; needed unless from_run is given")
    ] = None
    description: Annotated[
        Text | None, Field(max_length=2000, description="What it is found by; default: the docstring")
    ] = None
    intents: Annotated[
        list[Annotated[Text, Field(max_length=200)]],
        Field(max_length=10, description="Requests that it serves, in a user's words"),
    ] = []
    tags: Annotated[list[Annotated[Text, Field(min_length=1, max_length=50)]], Field(max_length=20)] = []
    replace: Annotated[bool, Field(description="Make a new version of an existing name")] = False
    entry: Annotated[Text | None, Field(max_length=200, description="Entry function, if it is not `run`")] = None
    dry_run: Annotated[bool, Field(description="Check only, store nothing")] = False
    from_run: Annotated[Text | None, Field(max_length=200, description="Store the code of this run instead")] = None


class SearchWorkflows(Arguments):
    """Arguments of `search_workflows`."""

    query: Annotated[Text, Field(min_length=1, max_length=2000, description="A sentence: verb, object, source")]
    limit: Annotated[int, Field(ge=1, le=20)] = 5


class ListWorkflows(Arguments):
    """Arguments of `list_workflows`."""

    limit: Annotated[int, Field(ge=1, le=100)] = 50
    cursor: Cursor = None
    tag: Annotated[Text | None, Field(max_length=60)] = None
    only: Literal["pinned", "used", "unused", "failing"] | None = None


class GetWorkflow(Arguments):
    """Arguments of `get_workflow`."""

    name: WorkflowName
    version: Annotated[
        Text | None, Field(min_length=4, max_length=64, description="Hash or its beginning; default: the current one")
    ] = None
    offset: Annotated[Offset, Field(description="Character of the source to begin at")] = 0


class DeleteWorkflow(Arguments):
    """Arguments of `delete_workflow`."""

    name: WorkflowName


class _Start(Arguments):
    name: WorkflowName
    arguments: Inputs = {}


class _StartOptions(Arguments):
    run_id: Annotated[Text | None, Field(min_length=1, max_length=100, description="Your own id for the run")] = None
    session_id: Annotated[Text | None, Field(max_length=200)] = None
    user_id: Annotated[Text | None, Field(max_length=200)] = None
    idempotency_key: Annotated[
        Text | None, Field(max_length=200, description="The same key and workflow give the same run again")
    ] = None
    budget_usd: Annotated[float | None, Field(ge=0, le=1e6)] = None

    from_run: Annotated[Text | None, Field(max_length=200, description="Start this run again")] = None
    from_step: Annotated[
        Text | None, Field(max_length=200, description="From this step on, with its results before")
    ] = None


class InvokeWorkflow(_StartOptions, _Start):
    """Arguments of `invoke_workflow`."""

    wait_seconds: Wait = DEFAULT_WAIT_S


class RunWorkflow(_StartOptions, _Start):
    """Arguments of `run_workflow`."""

    pool: Annotated[Text | None, Field(max_length=100, description="Workers that may take it")] = None
    labels: Annotated[dict[str, str], Field(max_length=20)] = {}


class GetRun(Arguments):
    """Arguments of `get_run`."""

    run_id: RunId
    wait_seconds: Annotated[float, Field(ge=0, le=MAX_WAIT_S, description="Wait for its end or a question")] = 0.0
    include: Annotated[list[Include], Field(max_length=8, description="Parts to show in full")] = []
    path: Annotated[
        Text | None, Field(max_length=1000, description='JSON pointer into output, step_results or input: "/items/0"')
    ] = None
    offset: Annotated[Offset, Field(description="Item or character of the included part to begin at")] = 0


class ListRuns(Arguments):
    """Arguments of `list_runs`."""

    status: Status | None = None
    workflow: Annotated[Text | None, Field(max_length=200)] = None
    session_id: Annotated[Text | None, Field(max_length=200)] = None
    parent_id: Annotated[Text | None, Field(max_length=200)] = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    cursor: Cursor = None


class ResumeRun(Arguments):
    """Arguments of `resume_run`."""

    run_id: RunId
    decision: Annotated[
        Literal["retry", "value", "fail", "discard"] | None,
        Field(description="In doubt: made (value), not made (retry), or give up (fail). Dead: discard puts it away"),
    ] = None
    value: Annotated[Any, Field(description="With decision=value: the call's result")] = None
    key: Annotated[Text | None, Field(max_length=1000, description="Which call in doubt, if several are")] = None
    digest: Annotated[Text | None, Field(max_length=200, description="As shown in waiting_for")] = None
    version: Annotated[
        Text | None, Field(max_length=64, description="Go on with this mended version, or 'current', where it agrees")
    ] = None
    budget_usd: Annotated[
        float | None, Field(ge=0, description="What it may spend on models in all, after budget_exceeded")
    ] = None


class ApproveRun(Arguments):
    """Arguments of `approve_run`."""

    run_id: RunId
    decision: Literal["approve", "reject", "answer"]
    value: Annotated[Any, Field(description="With decision=answer: text, an option's id, or a list of ids")] = None
    key: Annotated[Text | None, Field(max_length=1000, description="Which one, if several are open")] = None
    digest: Annotated[Text | None, Field(max_length=200, description="As shown in waiting_for")] = None
    reason: Annotated[Text, Field(max_length=2000)] = ""
    reviewer: Annotated[Text, Field(max_length=200, description="Who decided")] = ""


class CancelRun(Arguments):
    """Arguments of `cancel_run`."""

    run_id: RunId
    reason: Annotated[Text, Field(max_length=2000)] = ""


class RunCode(Arguments):
    """Arguments of `run_code`."""

    code: Annotated[
        str, Field(min_length=1, description="Statements, or a module with `run`; same rules as a workflow")
    ]
    arguments: Inputs = {}
    wait_seconds: Wait = DEFAULT_WAIT_S


class SearchTools(Arguments):
    """Arguments of `search_tools`."""

    query: Annotated[Text, Field(max_length=500, description="What the tool should do; empty lists all")] = ""
    limit: Annotated[int, Field(ge=1, le=50)] = 10


class ReadArtifact(Arguments):
    """Arguments of `read_artifact`."""

    run_id: RunId
    name: Annotated[Text, Field(min_length=1, max_length=500)]
    offset: Annotated[Offset, Field(description="Character (text) or byte (binary) to begin at")] = 0


class EmitEvent(Arguments):
    """Arguments of `emit_event`."""

    name: Annotated[Text, Field(min_length=1, max_length=200)]
    payload: Annotated[Any, Field(description="Any JSON value")] = None
    event_id: Annotated[Text | None, Field(max_length=200, description="A repeated id is delivered once")] = None
    run_id: Annotated[Text | None, Field(max_length=128, description="Only this run gets it")] = None


class GetGuide(Arguments):
    """Arguments of `get_guide`."""

    topic: Annotated[
        Text, Field(max_length=100, description="authoring, durability, tools, approvals, errors, examples")
    ] = "authoring"
