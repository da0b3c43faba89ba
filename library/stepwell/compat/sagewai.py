"""The names of Sagewai's page: agents, agents made of agents, durable workflows and their gates.

A durable workflow that is stored is run by the server. `await wf.run(...)` in code runs it as a part of that run; the
same `run_id` a second time goes on behind the steps that have their results.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from stepwell.compat.credentials import InferenceParams, WorkerCredentials, get_worker_credentials
from stepwell.compat.ignoring import BudgetExceededError, Store, ignore
from stepwell.sdk import agent_nodes
from stepwell.sdk.agents import Agent
from stepwell.sdk.context import ctx
from stepwell.sdk.flow import run_inside
from stepwell.sdk.handles import WORKFLOW_FILE, caller_line
from stepwell.sdk.runtime import operate, runtime
from stepwell.sdk.workflow import Workflow

__all__ = [
    "ApprovalGate",
    "ConditionalAgent",
    "DurableWorkflow",
    "InMemoryStore",
    "InferenceParams",
    "LoopAgent",
    "ParallelAgent",
    "PostgresStore",
    "SagewaiBudgetExceededError",
    "SequentialAgent",
    "SqliteWorkflowStore",
    "TokenBudgetGuard",
    "UniversalAgent",
    "WorkerCredentials",
    "get_worker_credentials",
]

_KEYS = "keys and addresses of models are in the server's configuration"


class InMemoryStore(Store):
    """Runs are kept on disk all the same."""


class SqliteWorkflowStore(Store):
    """Runs are kept in the server's own file."""


class PostgresStore(Store):
    """Runs are kept in the server's own file."""


class SagewaiBudgetExceededError(BudgetExceededError):
    """Nothing raises it: see `BudgetExceededError`."""


@dataclass(frozen=True)
class TokenBudgetGuard:
    """What an agent may spend in a run, among its `guardrails`: before a call that could cost more, the run stops."""

    max_usd: float

    def __post_init__(self) -> None:
        if not self.max_usd > 0:
            raise ValueError(
                f"max_usd is a number of dollars above 0, not {self.max_usd!r}; leave the guard out for none"
            )


class UniversalAgent(Agent):
    """An agent; `chat` returns its text."""

    def __init__(
        self,
        name: str = "agent",
        model: str | None = None,
        system_prompt: str = "",
        tools: Iterable[Any] = (),
        temperature: float | None = None,
        max_iterations: int = 10,
        *,
        guardrails: Iterable[Any] = (),
        inference: InferenceParams | None = None,
        **others: Any,
    ) -> None:
        if others.pop("memory", None):
            ignore(f"memory= of the agent {name!r}", "its chats in a run are one conversation")
        for what in ("api_base", "api_key"):
            if others.pop(what, None) is not None:
                ignore(f"{what}= of the agent {name!r}", _KEYS)
        for guard in guardrails:
            if isinstance(guard, TokenBudgetGuard):
                others["budget_usd"] = min(guard.max_usd, others.get("budget_usd") or guard.max_usd)
            else:
                ignore(f"the guardrail {type(guard).__name__} of the agent {name!r}", "it has no counterpart")
        asked = ({} if inference is None else inference.given()) | others
        if temperature is not None:
            asked["temperature"] = temperature
        super().__init__(name, system_prompt, model, tools, max_iterations, **asked)


class _Durable(agent_nodes.AgentNode):
    """Takes the options by which these agents are made durable, which they are here without."""

    def __init__(self, *args: Any, durability: Any = None, workflow_store: Any = None, **given: Any) -> None:
        super().__init__(*args, **given)
        for what, value in (("durability", durability), ("workflow_store", workflow_store)):
            if value is not None:
                ignore(f"{what}= of the agent {self.name!r}", "each agent inside is a durable step")

    async def resume(self, run_id: str) -> NoReturn:
        """Refuse: a run is resumed from outside."""
        raise RuntimeError(
            f"resume with resume_run(run_id={run_id!r}) or `stepwell resume {run_id}`; agents that have answered are "
            "not asked again"
        )


class SequentialAgent(_Durable, agent_nodes.SequentialAgent):
    """Agents one after the other."""


class ParallelAgent(_Durable, agent_nodes.ParallelAgent):
    """Agents beside each other."""


class ConditionalAgent(_Durable, agent_nodes.ConditionalAgent):
    """One agent of several."""


class LoopAgent(_Durable, agent_nodes.LoopAgent):
    """One agent again and again."""


@dataclass(slots=True)
class _Progress:
    """How far a workflow has come under a `run_id`."""

    inputs: dict[str, Any]
    values: list[Any] = field(default_factory=list[Any])
    """What its steps have returned."""


class DurableWorkflow(Workflow):
    """Decorated functions that run one after the other, each with what the one before returned."""

    def __init__(self, name: str | None = None, store: Any = None, **declared: Any) -> None:
        super().__init__(name, **declared)
        self._known: dict[str, _Progress] = {}

    def run(self, *, run_id: str | None = None, **inputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Run the steps and return what the last one returns; a `run_id` that is known goes on where it was."""
        progress = self._known.get(run_id) if run_id is not None else None
        if progress is None:
            progress = _Progress(inputs)
            if run_id is not None:
                self._known[run_id] = progress
        elif inputs and inputs != progress.inputs:
            raise ValueError(f"run {run_id!r} of {self.name!r} was begun with other inputs")
        key = runtime().scope().key(self.name)
        start = lambda: run_inside(key, lambda: self._go_on(progress))  # noqa: E731
        return operate(f"the workflow {self.name!r}", caller_line(WORKFLOW_FILE), start, key)

    async def _go_on(self, progress: _Progress) -> Any:
        steps = self.pipeline.steps
        if not steps:
            raise TypeError(f"the workflow {self.name!r} has no steps: write @wf.step('name') on its functions")
        for step in steps[len(progress.values) :]:
            made = step.after(progress.values[-1]) if progress.values else step.made((), progress.inputs)
            progress.values.append(await made)
        return progress.values[-1]


class ApprovalGate:
    """Waits for a person; to approve or reject is done from outside of the run."""

    def __init__(self, workflow: Any = None, **_: Any) -> None:
        self.workflow = workflow

    def request_approval(
        self,
        prompt: str = "Approve?",
        context: Any = None,
        *,
        timeout_seconds: float | None = None,
        auto_approve_after: float | None = None,
    ) -> Any:
        """Wait until a person approves.

        Raises:
            ApprovalDenied: rejected, or not answered in time.
        """
        if auto_approve_after is not None:
            ignore("auto_approve_after= of the gate", "nothing is approved without a decision")
        return ctx.approve(prompt, context, timeout=timeout_seconds)

    async def approve(self, run_id: str, **_: Any) -> NoReturn:
        """Refuse: what asks for an approval cannot give it."""
        raise RuntimeError(f"approve with approve_run(run_id={run_id!r}, ...) or `stepwell approve {run_id}`")

    async def reject(self, run_id: str, **_: Any) -> NoReturn:
        """Refuse: what asks for an approval cannot reject it."""
        raise RuntimeError(f"reject with approve_run(run_id={run_id!r}, ...) or `stepwell reject {run_id}`")
