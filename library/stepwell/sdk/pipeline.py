"""Decorated functions that run one after the other, each as a step that gets what the one before returned."""

import functools
import inspect
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stepwell.sdk.context import WorkflowContext, ctx
from stepwell.sdk.function_context import wants_context
from stepwell.sdk.handles import WORKFLOW_FILE, caller_line
from stepwell.sdk.options import StepOptions
from stepwell.sdk.step import Step, function_options

CONTEXT_NAMES = ("ctx", "wf")
CONTEXT_HINT = re.compile(r"\b(WorkflowContext|Workflow)\b")


@dataclass(frozen=True, slots=True)
class PipelineStep:
    """One function with the options of its step."""

    name: str
    fn: Callable[..., Any]
    options: StepOptions
    declared: frozenset[str]
    """The options that were given; the others may come from `@function`."""

    def made(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Step:
        """Return the step with its inputs."""
        work, _ = arrange(self.fn)
        options = function_options(self.fn, self.options, self.declared)
        return Step(self.name, work, args, kwargs, options, caller_line(WORKFLOW_FILE))

    def after(self, value: Any) -> Step:
        """Return the step with what the one before it returned, as its first argument whatever that is called."""
        _, free = arrange(self.fn)
        if not free or free[0].kind is inspect.Parameter.VAR_KEYWORD:
            return self.made((), {})
        if free[0].kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL):
            return self.made((value,), {})
        return self.made((), {free[0].name: value})


@dataclass(slots=True)
class Pipeline:
    """The steps of one `Workflow` object, in the order of their definition."""

    name: str
    steps: list[PipelineStep] = field(default_factory=list[PipelineStep])

    def add(self, step: PipelineStep) -> None:
        """Add the next step.

        Raises:
            ValueError: another one has its name.
        """
        if any(known.name == step.name for known in self.steps):
            raise ValueError(f"two steps of the workflow {self.name!r} are named {step.name!r}")
        self.steps.append(step)

    async def run(self, inputs: dict[str, Any]) -> Any:
        """Run the steps; the first gets the inputs by name. Return what the last one returns."""
        if not self.steps:
            raise TypeError(f"the workflow {self.name!r} has no steps: write @wf.step('name') on its functions")
        value = await self.steps[0].made((), inputs)
        for step in self.steps[1:]:
            value = await step.after(value)
        return value


def arrange(fn: Callable[..., Any]) -> tuple[Callable[..., Any], list[inspect.Parameter]]:
    """Return a function with its context filled in, and the parameters that are left."""
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        return fn, [inspect.Parameter("value", inspect.Parameter.POSITIONAL_ONLY)]
    if wants_context(fn):
        del parameters[0]  # a FunctionContext, which the step gives
    context = {parameter.name: ctx for parameter in parameters if is_context(parameter)}
    free = [parameter for parameter in parameters if parameter.name not in context]
    return (functools.partial(fn, **context) if context else fn), free


def is_context(parameter: inspect.Parameter) -> bool:
    """Whether the engine fills the parameter: by its name, or by its hint."""
    if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        return False
    hint = parameter.annotation
    if parameter.name in CONTEXT_NAMES:
        return True
    if isinstance(hint, str):
        return CONTEXT_HINT.search(hint) is not None
    hints = (hint, *typing.get_args(hint))
    return any(item is WorkflowContext or getattr(item, "__name__", "") == "Workflow" for item in hints)
