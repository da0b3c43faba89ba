"""What observers of a declarative workflow are told: `workflow.events.on(StepCompletedEvent, fn)`.

Observers run in the workflow's process, and again on a replay; the timeline has the same, once.
"""

import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stepwell.sdk.callbacks import check_callback
from stepwell.sdk.node_values import StepOutput, WorkflowOutput


@dataclass(frozen=True, slots=True)
class WorkflowEvent:
    """Something that happened in a workflow."""

    workflow_name: str


@dataclass(frozen=True, slots=True)
class WorkflowStartedEvent(WorkflowEvent):
    """A run of the workflow begins."""

    input: Any


@dataclass(frozen=True, slots=True)
class WorkflowCompletedEvent(WorkflowEvent):
    """All nodes have succeeded, or one has ended the workflow early."""

    output: WorkflowOutput


@dataclass(frozen=True, slots=True)
class WorkflowErrorEvent(WorkflowEvent):
    """A node has failed, and with it the workflow."""

    error: str


@dataclass(frozen=True, slots=True)
class StepEvent(WorkflowEvent):
    """Something that happened to a node."""

    step_name: str
    step_type: str
    depth: int
    """How many nodes it is inside of."""


@dataclass(frozen=True, slots=True)
class StepStartedEvent(StepEvent):
    """A node begins."""


@dataclass(frozen=True, slots=True)
class StepCompletedEvent(StepEvent):
    """A node has succeeded."""

    output: StepOutput


@dataclass(frozen=True, slots=True)
class StepErrorEvent(StepEvent):
    """A node has failed for good."""

    error: str


@dataclass(frozen=True, slots=True)
class StepSkippedEvent(StepEvent):
    """A condition has no branch for its case, or a router has chosen nothing."""


@dataclass(frozen=True, slots=True)
class LoopIterationEvent(StepEvent):
    """A pass of a loop begins."""

    iteration: int
    """1 the first time."""
    max_iterations: int


class Events:
    """The observers of one workflow."""

    def __init__(self) -> None:
        self._observers: list[tuple[type, Callable[[Any], Any]]] = []

    def on(self, kind: type[WorkflowEvent], observer: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """Call `observer`, sync or async, with each event of that class or one below it.

        Raises:
            TypeError: `kind` is no class of events, or `observer` does not take one.
        """
        given: Any = kind
        if not isinstance(given, type) or not issubclass(given, WorkflowEvent):
            raise TypeError(f"events.on takes a class of events such as StepCompletedEvent, not {given!r}"[:300])
        check_callback(observer, f"events.on({given.__name__}):", "the event")
        self._observers.append((kind, observer))
        return observer

    async def emit(self, event: WorkflowEvent) -> None:
        """Tell the observers, in the order in which they were added. None of them can break the run."""
        for kind, observer in self._observers:
            if not isinstance(event, kind):
                continue
            try:
                told = observer(event)
                if inspect.isawaitable(told):
                    await told
            except Exception as error:  # noqa: BLE001  the author's observer
                logging.getLogger("workflow").warning(
                    "an observer of %s failed: %s: %s", type(event).__name__, type(error).__name__, error
                )
