"""`Workflow`: a decorator, the annotation of a context parameter, and a pipeline of decorated functions."""

from collections.abc import Callable
from typing import Any, TypeVar

from stepwell.sdk import combining
from stepwell.sdk.functions import workflow
from stepwell.sdk.options import given_options, read_options
from stepwell.sdk.pipeline import Pipeline, PipelineStep
from stepwell.sdk.step import step_name

F = TypeVar("F", bound=Callable[..., Any])


class Workflow:
    """A decorator of functions; as a hint, the context; as an object, the pipeline of its `@wf.step` functions."""

    def __new__(cls, name: Any = None, **_: Any) -> Any:
        """Return an object; used as a decorator without arguments, the function that it marks."""
        return workflow(name) if callable(name) else super().__new__(cls)

    def __init__(self, name: Any = None, **declared: Any) -> None:
        if declared.pop("steps", None) is not None:
            raise TypeError("Workflow(steps=...) is not supported by this version; write `async def run(ctx, ...)`")
        self.name = name
        self.declared = declared
        self.pipeline = Pipeline(name or "workflow")

    def __call__(self, fn: F) -> F:
        """Mark the function, as `@workflow` does."""
        return workflow(**self.declared)(fn)

    def step(self, name: Any = None, **options: Any) -> Any:
        """Make the function below the next step. Options are those of `ctx.step`."""
        if callable(name):
            return self.step()(name)
        checked = read_options(options)
        declared = given_options(options)

        def add(fn: F) -> F:
            self.pipeline.add(PipelineStep(name or step_name(fn), fn, checked, declared))
            return fn

        return add

    fan_out = staticmethod(combining.fan_out)
    map = staticmethod(combining.map_items)
    reduce = staticmethod(combining.reduce)
    branch = staticmethod(combining.branch)
