"""Nodes around others: `Parallel`, `Condition`, `Loop`, `Router`."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from stepwell.sdk import node_events as events
from stepwell.sdk.callbacks import check_callback, wrong_result
from stepwell.sdk.exceptions import StepError
from stepwell.sdk.flow import Flow, Node, beside, combined, decide, in_order
from stepwell.sdk.node_values import StepInput, StepOutput, join_named, last_content
from stepwell.sdk.nodes import Steps, read_branch, read_name, read_nodes
from stepwell.sdk.runtime import runtime
from stepwell.sdk.scope import depth_of


class Parallel:
    """Nodes beside each other, all with the same input; the content is `[name]: text` of each, as listed."""

    kind = "Parallel"

    def __init__(
        self,
        *nodes: Any,
        name: str | None = None,
        steps: Any = None,
        max_concurrency: int | None = None,
        description: str = "",
    ) -> None:
        self.name = read_name(name, "parallel")
        self.description = description
        self.steps = read_nodes(list(nodes) if steps is None else steps, self.name)
        if max_concurrency is not None and (type(max_concurrency) is not int or max_concurrency < 1):
            raise ValueError(f"max_concurrency is a whole number of at least 1, not {max_concurrency!r}")
        self.max_concurrency = max_concurrency

    async def work(self, flow: Flow, given: StepInput, key: str) -> StepOutput:
        """Run the nodes; one that fails fails this one, when the others have ended."""
        outputs = await beside(self.steps, flow, given, f"{key}~/", self.max_concurrency)
        return combined(outputs, join_named(outputs))


class Condition:
    """One branch or the other, as `condition(step_input)` says; without a branch for its case it is skipped."""

    kind = "Condition"

    def __init__(
        self,
        name: str | None = None,
        *,
        condition: Callable[[StepInput], Any] | bool,
        true_steps: Any = None,
        false_steps: Any = None,
        description: str = "",
    ) -> None:
        self.name = read_name(name, "condition")
        self.description = description
        self.condition = condition
        if type(condition) is not bool:
            check_callback(condition, f"condition {self.name!r}: condition=", "the StepInput")
        self.true_steps = read_branch(true_steps, self.name)
        self.false_steps = read_branch(false_steps, self.name)

    async def work(self, flow: Flow, given: StepInput, key: str) -> StepOutput:
        """Run the branch of the case."""
        given = replace(given, session_state=dict(flow.state))
        holds = await decide(self.condition, given, key) if callable(self.condition) else self.condition
        branch = self.true_steps if holds else self.false_steps
        if not branch:
            return StepOutput(status="skipped")
        outputs = await in_order(branch, flow, given, f"{key}~/")
        return combined(outputs, last_content(outputs))


class Loop:
    """Nodes again and again, until `end_condition(outputs)` of a pass holds, at most `max_iterations` times."""

    kind = "Loop"

    def __init__(
        self,
        name: str | None = None,
        steps: Any = None,
        *,
        end_condition: Callable[[list[StepOutput]], Any] | None = None,
        max_iterations: int = 3,
        description: str = "",
    ) -> None:
        self.name = read_name(name, "loop")
        self.description = description
        self.steps = read_nodes(steps, self.name)
        if end_condition is not None:
            check_callback(end_condition, f"loop {self.name!r}: end_condition=", "a list of StepOutput")
        if type(max_iterations) is not int or max_iterations < 1:
            raise ValueError(f"max_iterations is a whole number of at least 1, not {max_iterations!r}")
        self.end_condition = end_condition
        self.max_iterations = max_iterations

    async def work(self, flow: Flow, given: StepInput, key: str) -> StepOutput:
        """Run the passes; the first node of one gets what the last node of the one before gave."""
        passes: list[StepOutput] = []
        outputs: list[StepOutput] = []
        for n in range(1, self.max_iterations + 1):
            runtime().note("node.iteration", name=self.name, message=self.kind, depth=depth_of(key), attempt=n)
            about = (flow.name, self.name, self.kind, depth_of(key), n, self.max_iterations)
            await flow.events.emit(events.LoopIterationEvent(*about))
            outputs = await in_order(self.steps, flow, given, f"{key}~{n}/")
            passes += outputs
            if any(output.stop or not output.success for output in outputs):
                break
            if self.end_condition is not None and await decide(self.end_condition, outputs, f"{key}~{n}/end"):
                break
            for output in outputs:
                given = given.after(output)
        return replace(combined(outputs, last_content(outputs)), steps=passes)


class Router:
    """The routes that `selector(step_input)` names, one name or several; several run beside each other."""

    kind = "Router"

    def __init__(
        self,
        name: str | None = None,
        *,
        selector: Callable[[StepInput], Any],
        routes: Mapping[str, Any],
        description: str = "",
    ) -> None:
        self.name = read_name(name, "router")
        self.description = description
        check_callback(selector, f"router {self.name!r}: selector=", "the StepInput")
        self.selector = selector
        given: Any = routes
        if not isinstance(given, Mapping):
            raise TypeError(f"router {self.name!r}: routes= is a dict of names and steps, not a {type(given).__name__}")
        self.routes = {str(route): _as_route(str(route), nodes) for route, nodes in routes.items()}
        if not self.routes:
            raise ValueError(f"router {self.name!r} has no routes")

    async def work(self, flow: Flow, given: StepInput, key: str) -> StepOutput:
        """Run the routes chosen; none chosen skips the node.

        Raises:
            StepError: there is no route of a name.
            TypeError: the selector gave no names.
        """
        given = replace(given, session_state=dict(flow.state))
        chosen = await decide(self.selector, given, key)
        names = self._names(chosen)
        for name in names:
            if name not in self.routes:
                known = ", ".join(self.routes)
                raise StepError(f"Route {name!r} not found. The router has: {known}", code="unknown_route")
        if not names:
            return StepOutput(status="skipped")
        outputs = await beside([self.routes[name] for name in names], flow, given, f"{key}~/")
        return combined(outputs, last_content(outputs) if len(outputs) == 1 else join_named(outputs))

    def _names(self, chosen: Any) -> list[str]:
        listed: Any = [chosen] if isinstance(chosen, str) else [] if chosen is None else chosen
        if not isinstance(listed, (list, tuple)) or not all(isinstance(name, str) for name in listed):
            raise wrong_result(
                f"router {self.name!r}: selector=", chosen,
                f"the name of a route, a list of names, or none for no route; there are {', '.join(self.routes)}",
            )  # fmt: skip
        return list(dict.fromkeys(listed))


def _as_route(name: str, nodes: Any) -> Node:
    listed = read_nodes(nodes, name)
    return listed[0] if len(listed) == 1 and listed[0].name == name else Steps(name=name, steps=listed)
