"""What goes into the nodes of a declarative workflow, and what comes out of them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from stepwell.sdk import codec

PREVIOUS = "\nPrevious step output:\n"
BETWEEN = "\n\n"  # what stands between the texts of several nodes

NodeStatus = Literal["pending", "running", "completed", "failed", "skipped"]


@dataclass(slots=True)
class RunOutput:
    """What an executor may return in place of a text."""

    content: Any = None
    metrics: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(slots=True)
class StepOutput:
    """What has come of a node. An executor may return one, to set `stop`, `success` or `metrics`."""

    step_name: str = ""
    step_id: str = ""
    """The node's key in the journal."""
    step_type: str = ""
    """`Step`, `Steps`, `Parallel`, `Condition`, `Loop` or `Router`."""
    content: Any = None
    status: NodeStatus = "completed"
    success: bool = True
    error: str | None = None
    stop: bool = False
    """The workflow ends after this node, as a success."""
    metrics: dict[str, Any] = field(default_factory=dict[str, Any])
    duration_ms: int | None = None
    run_output: Any = None
    """What the agent or executor returned, where that is more than the content."""
    steps: list["StepOutput"] = field(default_factory=list["StepOutput"])
    """Of the nodes inside, in their order; of a loop those of all passes."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        names = ("step_name", "step_id", "step_type", "content", "status", "success", "error", "stop", "metrics")
        plain = {name: getattr(self, name) for name in names} | {"duration_ms": self.duration_ms}
        return plain | {"steps": [step.to_dict() for step in self.steps]}


@dataclass(slots=True)
class StepInput:
    """What a node is given."""

    input: Any = None
    """The workflow's own input."""
    previous_step_content: Any = None
    previous_step_outputs: dict[str, StepOutput] = field(default_factory=dict[str, StepOutput])
    """By name, what has come of the nodes before this one."""
    additional_data: dict[str, Any] = field(default_factory=dict[str, Any])
    session_state: dict[str, Any] = field(default_factory=dict[str, Any])
    """Values that the steps of a run share; what an executor changes in it is kept with its result."""

    def get_last_step_content(self) -> Any:
        """Return what the node before this one has given; None before the first."""
        return self.previous_step_content

    def get_step_output(self, name: str) -> StepOutput | None:
        """Return the newest output of the node of that name, at any depth."""
        return find_output(self.previous_step_outputs.values(), name)

    def get_step_content(self, name: str) -> Any:
        """Return the content of the node of that name; None if there is none."""
        found = self.get_step_output(name)
        return None if found is None else found.content

    def get_all_previous_content(self) -> str:
        """Return the texts of all nodes before this one, each under its name."""
        return join_named(self.previous_step_outputs.values())

    def prompt(self) -> str:
        """Return what an agent is asked: the input, and what the node before this one has given."""
        asked = text_of(self.input)
        if self.previous_step_content is None:
            return asked
        return asked + PREVIOUS + text_of(self.previous_step_content)

    def after(self, output: StepOutput) -> "StepInput":
        """Return what the next node is given."""
        content = self.previous_step_content if output.status == "skipped" else output.content
        known = {name: found for name, found in self.previous_step_outputs.items() if name != output.step_name}
        return replace(self, previous_step_content=content, previous_step_outputs=known | {output.step_name: output})


@dataclass(slots=True)
class WorkflowOutput:
    """What `workflow.arun(...)` returns; a failure is in it, not raised."""

    content: Any = None
    """Of the last node that was not skipped."""
    success: bool = True
    error: str | None = None
    step_outputs: list[StepOutput] = field(default_factory=list[StepOutput])
    duration_ms: int = 0
    session_state: dict[str, Any] = field(default_factory=dict[str, Any])
    run_id: str = ""
    workflow_id: str = ""
    workflow_name: str = ""

    @property
    def output(self) -> Any:
        """The content."""
        return self.content

    @property
    def status(self) -> NodeStatus:
        """`completed` or `failed`."""
        return "completed" if self.success else "failed"

    def get_step_output(self, name: str) -> StepOutput | None:
        """Return the newest output of the node of that name, at any depth; None if there is none."""
        return find_output(self.step_outputs, name)

    def get_step_content(self, name: str) -> Any:
        """Return the content of the node of that name; None if there is none."""
        found = self.get_step_output(name)
        return None if found is None else found.content


@dataclass(frozen=True, slots=True)
class Changed:
    """The recorded result of an executor that has changed the session's state."""

    content: Any
    session_state: dict[str, Any]
    """The keys that it set."""
    dropped: tuple[str, ...] = ()


def find_output(outputs: Iterable[StepOutput], name: str) -> StepOutput | None:
    """Return the newest output of that name among these and those inside of them."""
    for output in reversed(list(outputs)):
        if output.step_name == name:
            return output
        inner = find_output(output.steps, name)
        if inner is not None:
            return inner
    return None


def last_content(outputs: Iterable[StepOutput]) -> Any:
    """Return the content of the last one that was not skipped."""
    return next((output.content for output in reversed(list(outputs)) if output.status != "skipped"), None)


def join_named(outputs: Iterable[StepOutput]) -> str:
    """Return the texts of outputs, each after its name."""
    shown = [output for output in outputs if output.content is not None]
    return BETWEEN.join(f"[{output.step_name}]: {text_of(output.content)}" for output in shown)


def read_result(value: Any) -> StepOutput:
    """Return what an agent or executor has returned as an output."""
    if isinstance(value, StepOutput):
        return value
    content = content_of(value)
    metrics: Any = getattr(value, "metrics", None)
    found = dict(metrics) if isinstance(metrics, Mapping) else {}
    for name in ("tokens_used", "input_tokens", "output_tokens", "cost_usd"):
        if hasattr(value, name):
            found[name] = getattr(value, name)
    return StepOutput(content=content, metrics=found, run_output=None if content is value else value)


def content_of(value: Any) -> Any:
    """Return the content of a result, or the value itself."""
    if isinstance(value, type):
        return value
    return getattr(value, "content", getattr(value, "output", value))


def text_of(value: Any) -> str:
    """Return a content as text."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return json.dumps(codec.encode(value), ensure_ascii=False)
