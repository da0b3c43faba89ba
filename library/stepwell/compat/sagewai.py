"""The names of Sagewai's page: agents, agents made of agents, durable workflows and their gates.

A durable workflow that is stored is run by the server. `await wf.run(...)` in code runs it as a part of that run; the
same `run_id` a second time goes on behind the steps that have their results.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stepwell.compat.credentials import InferenceParams, WorkerCredentials, get_worker_credentials
from stepwell.compat.ignoring import Store, ignore
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
    "SequentialAgent",
    "SqliteWorkflowStore",
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
        **others: Any,
    ) -> None:
        for what in ("guardrails", "memory"):
            if others.pop(what, None):
                ignore(f"{what}= of the agent {name!r}", "it has no counterpart")
        for what in ("api_base", "api_key"):
            if others.pop(what, None) is not None:
                ignore(f"{what}= of the agent {name!r}", _KEYS)
        super().__init__(name, system_prompt, model, tools, max_iterations, temperature, **others)


class SequentialAgent(agent_nodes.SequentialAgent):
    """Agents one after the other."""

    def __init__(self, name: str | None = None, agents: Iterable[Any] = (), **durable: Any) -> None:
        super().__init__(name, agents)
        _ignore_durability(name, durable)


class ParallelAgent(agent_nodes.ParallelAgent):
    """Agents beside each other."""

    def __init__(
        self,
        name: str | None = None,
        agents: Iterable[Any] = (),
        merge: Callable[[list[str]], Any] | None = None,
        **durable: Any,
    ) -> None:
        super().__init__(name, agents, merge)
        _ignore_durability(name, durable)


class ConditionalAgent(agent_nodes.ConditionalAgent):
    """One agent of several."""

    def __init__(
        self,
        name: str | None = None,
        condition: Callable[[str], Any] | None = None,
        branches: Mapping[Any, Any] | None = None,
        default_branch: Any = None,
        **durable: Any,
    ) -> None:
        super().__init__(name, condition, branches, default_branch)
        _ignore_durability(name, durable)


class LoopAgent(agent_nodes.LoopAgent):
    """One agent again and again."""

    def __init__(
        self,
        name: str | None = None,
        agent: Any = None,
        should_stop: Callable[..., Any] | None = None,
        max_iterations: int = 10,
        **durable: Any,
    ) -> None:
        super().__init__(name, agent, should_stop, max_iterations)
        _ignore_durability(name, durable)


def _ignore_durability(name: str | None, given: dict[str, Any]) -> None:
    unknown = given.keys() - {"durability", "workflow_store"}
    if unknown:
        raise TypeError(f"agent {name!r} has no option {', '.join(sorted(unknown))}")
    for what in given:
        ignore(f"{what}= of the agent {name!r}", "each agent inside is a durable step")


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
        self, prompt: str = "Approve?", context: Any = None, *, timeout_seconds: float | None = None
    ) -> Any:
        """Wait until a person approves.

        Raises:
            ApprovalDenied: rejected, or not answered in time.
        """
        return ctx.approve(prompt, context, timeout=timeout_seconds)

    async def approve(self, run_id: str, **_: Any) -> None:
        """Refuse: what asks for an approval cannot give it."""
        raise RuntimeError(f"approve with approve_run(run_id={run_id!r}, ...) or `stepwell approve {run_id}`")

    async def reject(self, run_id: str, **_: Any) -> None:
        """Refuse: what asks for an approval cannot reject it."""
        raise RuntimeError(f"reject with approve_run(run_id={run_id!r}, ...) or `stepwell reject {run_id}`")
