"""The names of Ninetrix's page: agents of one provider, and decorated workflows that can be called.

A decorated function that is stored is run by the server. `await research_report("topic")` in code runs it as a part of
that run and returns a `WorkflowResult`.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from stepwell.compat.ignoring import BudgetExceededError, Store, ignore
from stepwell.sdk.agents import Agent, AgentResult
from stepwell.sdk.context import WorkflowContext
from stepwell.sdk.flow import inside
from stepwell.sdk.functions import workflow
from stepwell.sdk.handles import HostFunction
from stepwell.sdk.pipeline import is_context
from stepwell.sdk.runtime import runtime
from stepwell.sdk.step import Step, step_name
from stepwell.sdk.teams import Team
from stepwell.sdk.workflow import Workflow as NativeWorkflow

__all__ = [
    "Agent",
    "AgentResult",
    "BudgetExceededError",
    "Checkpointer",
    "Ninetrix",
    "Team",
    "Workflow",
    "WorkflowResult",
]

OPENAI = "openai"
BUDGET = HostFunction("query", "run.budget", lambda: ([], {}))


class Checkpointer(Store):
    """Runs are durable without one."""


class Ninetrix:
    """What agents have in common."""

    def __init__(
        self,
        *,
        provider: str = "anthropic",
        model: str = "claude-sonnet-4-6",
        checkpointer: Any = None,
        budget_usd: float = 0.0,
        max_turns: int = 20,
    ) -> None:
        self.provider, self.model, self.budget_usd, self.max_turns = provider, model, budget_usd, max_turns
        if checkpointer is not None:
            ignore("checkpointer=", "the server keeps runs in its own home")

    def agent(self, name: str = "agent", instructions: str = "", **options: Any) -> "ProviderAgent":
        """Return an agent of this provider; `model` and the other options of an agent go before those of here."""
        common = {"model": self.model, "max_turns": self.max_turns, "budget_usd": self.budget_usd or None}
        return ProviderAgent(self.provider, name, instructions, **(common | options))

    def team(self, *agents: Any, **options: Any) -> Team:
        """Return a team of agents."""
        return Team(agents=agents, **options)


class ProviderAgent(Agent):
    """An agent that knows its provider."""

    def __init__(self, provider: str, name: str, instructions: str, **options: Any) -> None:
        model = options.pop("model", None)
        prefixed = f"{OPENAI}:{model}" if provider == OPENAI and model and ":" not in model else model
        super().__init__(name, instructions, prefixed, **options)
        self.provider = provider


@dataclass
class WorkflowResult:
    """What a decorated workflow has come to that was called in code."""

    output: Any = None
    step_results: dict[str, Any] = field(default_factory=dict[str, Any])
    """By the names of its steps; repeated ones have `#2` and so on."""
    tokens_used: int = 0
    cost_usd: float | None = 0.0
    """None if the price of a model is not known."""
    elapsed_seconds: float = 0.0
    thread_id: str = ""
    terminated: bool = False
    termination_reason: str | None = None
    skipped_steps: list[str] = field(default_factory=list[str])
    """Steps whose results were restored when the run was taken up again."""
    budget_limit_usd: float | None = None
    """Of the run, as `ctx.budget()` has it; None for no bound."""
    budget_remaining_usd: float | None = None

    @property
    def completed_steps(self) -> list[str]:
        """The names of its steps."""
        return list(self.step_results)


class _Terminated(BaseException):
    pass


class _Counting(WorkflowContext):
    """The context of a workflow that is called in code: it keeps what its steps return."""

    def __init__(self, result: WorkflowResult) -> None:
        self._result = result

    def step(self, first: Any, /, *args: Any, **kwargs: Any) -> Any:
        made = super().step(first, *args, **kwargs)
        if isinstance(made, Step):
            made.told = self._told
        else:
            self._keep(first if isinstance(first, str) else step_name(first), made, count=True)
        return made

    def parallel(self, *branches: Any) -> Any:
        results = super().parallel(*branches)
        steps = [isinstance(branch, Step) for branch in branches]  # these count themselves
        if not hasattr(results, "__await__"):
            return self._counted(results, steps)

        async def counted() -> Any:
            return self._counted(await results, steps)

        return counted()

    def terminate(self, reason: str = "") -> NoReturn:
        self._result.terminated, self._result.termination_reason = True, str(reason)
        raise _Terminated

    def _told(self, step: Step, value: Any) -> None:
        name = self._keep(step.name, value, count=step.works)
        if runtime().span(step.key) is not None:
            self._result.skipped_steps.append(name)

    def _counted(self, results: list[Any], steps: list[bool]) -> list[Any]:
        for value, is_step in zip(results, steps, strict=True):
            if not is_step:
                self._count(value)
        return results

    def _keep(self, name: str, value: Any, *, count: bool) -> str:
        taken = sum(known.partition("#")[0] == name for known in self._result.step_results)
        kept = f"{name}#{taken + 1}" if taken else name
        self._result.step_results[kept] = value
        if count:
            self._count(value)
        return kept

    def _count(self, value: Any) -> None:
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, AgentResult):
                result = self._result
                result.tokens_used += item.tokens_used
                known = result.cost_usd is not None and item.cost_usd is not None
                result.cost_usd = (result.cost_usd or 0.0) + (item.cost_usd or 0.0) if known else None


class Workflow(NativeWorkflow):
    """Decorates the function that is the workflow, which can then be called without its `wf`."""

    def __new__(cls, name: Any = None, **options: Any) -> Any:
        """Return a decorator; used without arguments, the function."""
        return _called(workflow(name)) if callable(name) else super().__new__(cls, name, **options)

    def __call__(self, fn: Any) -> Any:
        """Mark the function."""
        return _called(super().__call__(fn))


def _called(fn: Callable[..., Any]) -> Any:
    signature = inspect.signature(fn)
    context = [name for name, parameter in signature.parameters.items() if is_context(parameter)]

    def by_engine(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        given = signature.bind_partial(*args, **kwargs).arguments
        return not context or any(name in given for name in context)

    def begin(kwargs: dict[str, Any]) -> tuple[WorkflowResult, float, dict[str, Any]]:
        result = WorkflowResult(thread_id=str(kwargs.pop("thread_id", "") or runtime().info.run_id))
        return result, runtime().now(), kwargs | dict.fromkeys(context, _Counting(result))

    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def call(*args: Any, **kwargs: Any) -> Any:
            if by_engine(args, {name: value for name, value in kwargs.items() if name != "thread_id"}):
                return await fn(*args, **kwargs)
            result, began, filled = begin(kwargs)
            with inside(f"{runtime().scope().key(fn.__name__)}~/"):
                await _ended(result, fn(*args, **filled))
                _tell_budget(result, await BUDGET.start())
            result.elapsed_seconds = runtime().now() - began
            return result

        return call

    @functools.wraps(fn)
    def call_now(*args: Any, **kwargs: Any) -> Any:
        if by_engine(args, {name: value for name, value in kwargs.items() if name != "thread_id"}):
            return fn(*args, **kwargs)
        result, began, filled = begin(kwargs)
        with inside(f"{runtime().scope().key(fn.__name__)}~/"):
            try:
                result.output = fn(*args, **filled)
            except _Terminated:
                result.output = None
            _tell_budget(result, BUDGET())
        result.elapsed_seconds = runtime().now() - began
        return result

    return call_now


def _tell_budget(result: WorkflowResult, found: dict[str, Any]) -> None:
    result.budget_limit_usd, result.budget_remaining_usd = found["limit_usd"], found["remaining_usd"]


async def _ended(result: WorkflowResult, work: Awaitable[Any]) -> None:
    try:
        result.output = await work
    except _Terminated:
        result.output = None
