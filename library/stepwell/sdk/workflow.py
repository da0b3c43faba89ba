"""`Workflow`: a decorator, the annotation of a context parameter, and as an object nodes or decorated functions."""

import copy
from collections.abc import Callable
from typing import Any, TypeVar

from stepwell.sdk import combining
from stepwell.sdk.flow import Flow, run_inside
from stepwell.sdk.functions import workflow
from stepwell.sdk.handles import WORKFLOW_FILE, caller_line
from stepwell.sdk.node_events import Events
from stepwell.sdk.node_values import StepInput, WorkflowOutput
from stepwell.sdk.nodes import read_nodes
from stepwell.sdk.options import DEFAULT, given_options, read_options
from stepwell.sdk.pipeline import Pipeline, PipelineStep
from stepwell.sdk.runtime import operate, runtime
from stepwell.sdk.step import Step, step_name

F = TypeVar("F", bound=Callable[..., Any])

STATE = "session_state"  # the name under which the state that a run leaves is among its results


class Workflow:
    """A decorator of functions; as a hint, the context; as an object, its nodes or its `@wf.step` functions."""

    def __new__(cls, name: Any = None, *_: Any, **__: Any) -> Any:
        """Return an object; used as a decorator without arguments, the function that it marks."""
        return workflow(name) if callable(name) else super().__new__(cls)

    def __init__(
        self,
        name: str | None = None,
        *,
        steps: Any = None,
        description: str = "",
        session_state: dict[str, Any] | None = None,
        **declared: Any,
    ) -> None:
        self.name = name or "workflow"
        self.description = description
        self.declared = declared
        self.session_state = dict(session_state or {})
        self.events = Events()
        self.steps = None if steps is None else read_nodes(steps, f"the workflow {self.name}")
        self.pipeline = Pipeline(self.name)

    def __call__(self, fn: F) -> F:
        """Mark the function, as `@workflow` does."""
        return workflow(**self.declared)(fn)

    def step(self, name: Any = None, **options: Any) -> Any:
        """Make the function below the next step. Options are those of `ctx.step`."""
        if callable(name):
            return self.step()(name)
        if self.steps is not None:
            raise TypeError(f"the workflow {self.name!r} has its steps already: add Step(name=..., executor=...) there")
        checked = read_options(options)
        declared = given_options(options)

        def add(fn: F) -> F:
            self.pipeline.add(PipelineStep(name or step_name(fn), fn, checked, declared))
            return fn

        return add

    def arun(
        self,
        input: Any = None,  # noqa: A002  the name that callers know
        *,
        session_state: dict[str, Any] | None = None,
        additional_data: dict[str, Any] | None = None,
    ) -> Any:
        """Run the nodes and return a `WorkflowOutput`, at once in `def` code, to be awaited in `async def`.

        A failure is in the result. What a person has rejected is raised.
        """
        key = runtime().scope().key(self.name)
        flow, given = self._begin(input, session_state, additional_data)
        start = lambda: run_inside(key, lambda: flow.run(self._nodes(), given))  # noqa: E731
        return operate(f"the workflow {self.name!r}", caller_line(WORKFLOW_FILE), start, key)

    run = arun

    async def run_stored(self, inputs: dict[str, Any]) -> Any:
        """Run the nodes as the workflow that is stored, and return the content.

        Raises:
            Exception: the first failure that the run has learned of, if it ends as failed.
        """
        flow, given = self._begin(inputs.get("input"), inputs.get("session_state"), inputs.get("additional_data"))
        result: WorkflowOutput = await flow.run(self._nodes(), given)
        if not result.success:
            raise flow.failures[0]
        if flow.state:
            await Step(STATE, flow.state, (), {}, DEFAULT, 0)
        return result.content

    def _nodes(self) -> list[Any]:
        if self.steps is None:
            raise TypeError(f"the workflow {self.name!r} has no steps=[...]")
        return self.steps

    def _begin(self, given: Any, state: Any, data: Any) -> tuple[Flow, StepInput]:
        shared = copy.deepcopy(self.session_state) | dict(state or {})
        return Flow(self.name, self.events, shared), StepInput(given, additional_data=dict(data or {}))

    fan_out = staticmethod(combining.fan_out)
    map = staticmethod(combining.map_items)
    reduce = staticmethod(combining.reduce)
    branch = staticmethod(combining.branch)
