"""`Step`, the node of a declarative workflow that does something, and `Steps`, several of them as one node."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from stepwell.sdk import codec
from stepwell.sdk.asking import asked, is_agent
from stepwell.sdk.callbacks import check_callback, wrong_result
from stepwell.sdk.exceptions import StepError
from stepwell.sdk.flow import Flow, Node, combined, decide, in_order
from stepwell.sdk.function_context import wants_context
from stepwell.sdk.handles import WORKFLOW_FILE, HostFunction, caller_line
from stepwell.sdk.node_values import Changed, RunOutput, StepInput, StepOutput, last_content
from stepwell.sdk.options import read_options
from stepwell.sdk.pipeline import arrange
from stepwell.sdk.step import Step as StepCall
from stepwell.sdk.step import is_async, step_name

MAX_NAME = 200  # characters, as of any step


class Step:
    """One agent, team or function, run as a step of that name.

    An agent or team is asked the input and what the node before gave, or what `input_builder(step_input)` returns. An
    executor, sync or async, gets the `StepInput` and returns a text, any other value, or a `StepOutput`. `timeout` is
    seconds of an attempt, `retries` are extra attempts, without delay unless `retry_delay` says so; further options
    are those of `ctx.step`.
    """

    kind = "Step"

    def __init__(
        self,
        name: str | None = None,
        *,
        agent: Any = None,
        team: Any = None,
        executor: Any = None,
        timeout: float | None = None,
        retries: int = 0,
        input_builder: Callable[[StepInput], Any] | None = None,
        **options: Any,
    ) -> None:
        given = {"agent": agent, "team": team, "executor": executor}
        given = {what: work for what, work in given.items() if work is not None}
        if len(given) != 1:
            raise ValueError(
                f"step {name!r} has {' and '.join(given) or 'no work'}: give exactly one of agent=, team=, executor="
            )
        ((what, self.work_of),) = given.items()
        self.name = read_name(name or (step_name(executor) if executor is not None else None), what)
        if executor is not None:
            work, free = arrange(executor) if callable(executor) else (executor, [])
            count = bool(free) + (callable(executor) and wants_context(executor))
            check_callback(work, f"step {self.name!r}: executor=", "the StepInput", count)
        if executor is None and not is_agent(self.work_of):
            raise TypeError(f"step {self.name!r}: {what}= is an agent, not a {type(self.work_of).__name__}")
        self.asks = executor is None
        if input_builder is not None:
            check_callback(input_builder, f"step {self.name!r}: input_builder=", "the StepInput")
        self.input_builder = input_builder
        delay: dict[str, Any] = {} if "retry_delay" in options else {"retry_delay": 0}
        tries: dict[str, Any] = {} if "max_attempts" in options else {"retries": retries}
        self.options = read_options(options | {"timeout": timeout} | delay | tries)
        if self.options.key is not None:
            raise TypeError("the step of a declarative workflow is known by its name and place; leave key= out")

    async def work(self, flow: Flow, given: StepInput, key: str) -> StepOutput:
        """Run the step."""
        given = replace(given, session_state=dict(flow.state))
        if self.asks:
            prompt = given.prompt()
            if self.input_builder is not None:
                prompt = await decide(self.input_builder, given, key)
                if prompt is None:
                    raise wrong_result(f"step {self.name!r}: input_builder=", None, "the prompt")
            work, value = asked(self.work_of), prompt
        else:
            work, value = executing(self.work_of), given
        step = StepCall(self.name, work, (value,), {}, self.options, caller_line(WORKFLOW_FILE), key=key)
        return flow.take(await step)


class Steps:
    """Nodes one after the other, as one node."""

    kind = "Steps"

    def __init__(self, name: str | None = None, steps: Any = None, *, description: str = "") -> None:
        self.name = read_name(name, "steps")
        self.description = description
        self.steps = read_nodes(steps, self.name)

    async def work(self, flow: Flow, given: StepInput, key: str) -> StepOutput:
        """Run the nodes, up to the first that fails or stops the workflow."""
        outputs = await in_order(self.steps, flow, given, f"{key}~/")
        return combined(outputs, last_content(outputs))


def read_nodes(given: Any, owner: str) -> list[Node]:
    """Return the nodes of a list, or of a single one; functions and agents become steps.

    Raises:
        ValueError: there are none.
        TypeError: one is nothing that can be a node.
    """
    listed: list[Any] = list(given) if isinstance(given, (list, tuple)) else [] if given is None else [given]
    if not listed:
        raise ValueError(f"{owner!r} has no steps")
    return [_as_node(item) for item in listed]


def read_branch(given: Any, owner: str) -> list[Node]:
    """Return the nodes of a branch, none if it is not there."""
    return [] if given is None or given == [] else read_nodes(given, owner)


def read_name(name: Any, what: str) -> str:
    """Return the name of a node; without one what it is.

    Raises:
        ValueError: it is none.
    """
    found = what if name is None else name
    if not isinstance(found, str) or not 0 < len(found) <= MAX_NAME or not found.isprintable():
        raise ValueError(f"a node's name is 1 to {MAX_NAME} printable characters, not {name!r}"[:300])
    return found


def executing(fn: Callable[..., Any]) -> Callable[[StepInput], Any]:
    """Return what a step runs for an executor: it keeps what the executor changes in the session's state."""
    call, free = arrange(fn)
    takes = bool(free)

    if is_async(call):

        async def work(given: StepInput) -> Any:
            before = _encoded(given.session_state)
            return _kept(await (call(given) if takes else call()), given, before)

        return work

    def work_sync(given: StepInput) -> Any:
        before = _encoded(given.session_state)
        value = call(given) if takes else call()
        return _awaited(value, given, before) if inspect.isawaitable(value) else _kept(value, given, before)

    return work_sync


async def _awaited(value: Any, given: StepInput, before: dict[str, Any]) -> Any:
    return _kept(await value, given, before)


def _kept(value: Any, given: StepInput, before: dict[str, Any]) -> Any:
    content = _storable(codec.settled(value))
    if isinstance(content, StepOutput) and not content.success:
        raise StepError(content.error or "the executor says so", code="step_failed")
    after = _encoded(given.session_state)
    if after == before:
        return content
    changed = {name: given.session_state[name] for name, held in after.items() if before.get(name, ()) != held}
    return Changed(content, changed, tuple(name for name in before if name not in after))


def _storable(value: Any) -> Any:
    # An object of a library with a `content` is taken by that, where the journal cannot hold it.
    if not hasattr(value, "content"):
        return value
    try:
        codec.encode(value)
    except codec.CodecError:
        return RunOutput(value.content)
    return value


def _encoded(state: dict[str, Any]) -> dict[str, Any]:
    return {name: codec.encode(value, f"session_state[{name!r}]") for name, value in state.items()}


def _as_node(item: Any) -> Any:
    if hasattr(item, "work") and hasattr(item, "kind") and not isinstance(item, HostFunction):
        return item
    if isinstance(item, (list, tuple)):
        return Steps(steps=item)
    nodes = getattr(item, "steps", None)
    if nodes and hasattr(item, "pipeline"):  # a workflow as a node of another
        return Steps(name=item.name, steps=nodes)
    if is_agent(item):
        return Step(name=getattr(item, "name", None), agent=item)
    if callable(item):
        return Step(executor=item)
    raise TypeError(f"a step is a Step, another node, an agent or a function, not a {type(item).__name__}")
