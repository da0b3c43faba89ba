"""How the nodes of a declarative workflow are run: each step by `ctx.step`, with a key that is the path of its nodes.

`research~/web` is the step `web` in the node `research`, `revise~2/write` the step `write` in the second pass of the
loop `revise`. The keys of nodes beside each other are taken in the order in which they are listed.
"""

import asyncio
import contextlib
import inspect
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from stepwell.sdk import node_events as events
from stepwell.sdk.batch import is_decided
from stepwell.sdk.exceptions import StepError, mark_step
from stepwell.sdk.node_values import Changed, StepInput, StepOutput, WorkflowOutput, last_content, read_result
from stepwell.sdk.runtime import runtime
from stepwell.sdk.scope import Scope, depth_of, enter_scope, leave_scope

T = TypeVar("T")


class Node(Protocol):
    """A part of a declarative workflow."""

    kind: str
    name: str

    async def work(self, flow: "Flow", given: StepInput, key: str) -> StepOutput:
        """Do what the node is for; what is common to all nodes is set by the caller."""
        ...


@dataclass(slots=True)
class Flow:
    """One run of a declarative workflow."""

    name: str
    events: events.Events
    state: dict[str, Any]
    failures: list[Exception] = field(default_factory=list[Exception])
    """In the order in which the run learned of them."""
    decided: list[Exception] = field(default_factory=list[Exception])
    """What a person has said no to: it ends the run, whatever else succeeds."""

    async def run(self, nodes: Sequence[Node], given: StepInput) -> WorkflowOutput:
        """Run the nodes in their order.

        Raises:
            Exception: a person has rejected something, or given up a call in doubt.
        """
        rt = runtime()
        began = rt.now()
        await self.events.emit(events.WorkflowStartedEvent(self.name, given.input))
        outputs = await in_order(nodes, self, given, rt.scope().path)
        failed = next((output for output in outputs if not output.success), None)
        found = WorkflowOutput(
            last_content(outputs), failed is None, failed and failed.error, outputs, ms(rt.now() - began), self.state,
            rt.info.run_id, rt.info.workflow, self.name,
        )  # fmt: skip
        if failed is None:
            await self.events.emit(events.WorkflowCompletedEvent(self.name, found))
        else:
            await self.events.emit(events.WorkflowErrorEvent(self.name, failed.error or ""))
        return found

    def take(self, value: Any) -> StepOutput:
        """Return the output of a step, with what it has changed in the shared state."""
        if not isinstance(value, Changed):
            return read_result(value)
        self.state.update(value.session_state)
        for name in value.dropped:
            self.state.pop(name, None)
        return read_result(value.content)


async def perform(node: Node, flow: Flow, given: StepInput, key: str) -> StepOutput:
    """Run a node and return what has come of it; a failure is in the output.

    Raises:
        Exception: a person has rejected something, or given up a call in doubt.
    """
    rt = runtime()
    about = (flow.name, node.name, node.kind, depth_of(key))
    began = rt.now()
    _note(node, key, "started")
    await flow.events.emit(events.StepStartedEvent(*about))
    try:
        output = await node.work(flow, given, key)
    except Exception as error:
        if is_decided(error):
            raise
        mark_step(error, node.name, 1)
        flow.failures.append(error)
        said = str(error) if isinstance(error, StepError) else f"{type(error).__name__}: {error}"
        output = StepOutput(status="failed", success=False, error=said)
    output = replace(
        output, step_name=node.name, step_id=key, step_type=node.kind, duration_ms=ms(rt.now() - began)
    )  # fmt: skip
    _note(node, key, output.status)
    if output.status == "skipped":
        await flow.events.emit(events.StepSkippedEvent(*about))
    elif output.success:
        await flow.events.emit(events.StepCompletedEvent(*about, output))
    else:
        await flow.events.emit(events.StepErrorEvent(*about, output.error or ""))
    return output


async def in_order(nodes: Sequence[Node], flow: Flow, given: StepInput, path: str) -> list[StepOutput]:
    """Run nodes one after the other, up to the first that fails or stops the workflow."""
    outputs: list[StepOutput] = []
    with inside(path) as scope:
        for node, key in zip(nodes, [scope.key(node.name) for node in nodes], strict=True):
            output = await perform(node, flow, given, key)
            outputs.append(output)
            if output.stop or not output.success:
                break
            given = given.after(output)
    return outputs


async def beside(
    nodes: Sequence[Node], flow: Flow, given: StepInput, path: str, width: int | None = None
) -> list[StepOutput]:
    """Run nodes beside each other, so many at once; all get the same input.

    Raises:
        Exception: a person has rejected something in one of them. Those under way have ended, no other was begun.
    """
    outputs: dict[int, StepOutput] = {}
    with inside(path) as scope:
        turns = iter(list(enumerate((node, scope.key(node.name)) for node in nodes)))

        async def work() -> None:
            for index, (node, key) in turns:
                try:
                    outputs[index] = await perform(node, flow, given, key)
                except Exception as error:  # noqa: BLE001  raised when the others have ended
                    flow.decided.append(error)
                if flow.decided:
                    return

        await asyncio.gather(*(work() for _ in range(min(width or len(nodes), len(nodes)))))
    if flow.decided:
        raise flow.decided[0]
    return [outputs[index] for index in sorted(outputs)]


async def decide(fn: Callable[..., Any], value: Any, key: str) -> Any:
    """Return what a function of the author's, sync or async, says; its calls have keys of their own."""
    with inside(f"{key}~of/"):
        found = fn(value)
        return await found if inspect.isawaitable(found) else found


def combined(outputs: list[StepOutput], content: Any) -> StepOutput:
    """Return the output of a node from those of the nodes inside of it."""
    failed = next((output for output in outputs if not output.success), None)
    return StepOutput(
        content=content,
        status="completed" if failed is None else "failed",
        success=failed is None,
        error=None if failed is None else failed.error,
        stop=any(output.stop for output in outputs),
        steps=outputs,
    )


async def run_inside(key: str, work: Callable[[], Awaitable[T]]) -> T:
    """Run async work whose calls have keys under `key`, from any code."""
    with inside(f"{key}~/"):
        return await runtime().run_async(work(), None)


@contextlib.contextmanager
def inside(path: str) -> Generator[Scope, None, None]:
    """Make calls take their keys under `path`; the path of the running code itself changes nothing."""
    outer = runtime().scope()
    if path == outer.path:
        yield outer
        return
    scope = outer.inside(path)
    token = enter_scope(scope)
    try:
        yield scope
    finally:
        leave_scope(token)


def ms(seconds: float) -> int:
    """Return whole milliseconds."""
    return round(seconds * 1000)


def _note(node: Node, key: str, what: str) -> None:
    # A step's own attempts are in the timeline already.
    if node.kind != "Step":
        runtime().note(f"node.{what}", name=node.name, message=node.kind, depth=depth_of(key))
