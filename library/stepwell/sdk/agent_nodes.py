"""Agents made of agents: one after the other, beside each other, by case, again and again.

Each agent inside is asked in a step of its own, with a key under that of the whole: `pipeline~/writer`. Whatever can
be asked may be inside: agents, teams, these, objects with `arun` or `chat`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from stepwell.sdk.agents import AgentResult, text_of
from stepwell.sdk.asking import asked, is_agent
from stepwell.sdk.callbacks import check_callback, takes, wrong_result
from stepwell.sdk.exceptions import mark_step
from stepwell.sdk.flow import Flow, decide, inside
from stepwell.sdk.handles import WORKFLOW_FILE, caller_line
from stepwell.sdk.node_values import BETWEEN, StepInput, StepOutput, content_of, read_result
from stepwell.sdk.nodes import read_name
from stepwell.sdk.options import DEFAULT
from stepwell.sdk.runtime import Deferred, drive, runtime
from stepwell.sdk.scope import depth_of
from stepwell.sdk.step import Step

COUNTS = ("tokens_used", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "steps")


class AgentNode:
    """What is common to agents made of agents: they are asked like one, and are nodes of a workflow."""

    kind = "Agent"

    def __init__(self, name: str | None) -> None:
        self.name = read_name(name, self.kind)

    def arun(self, prompt: Any, /) -> Any:
        """Ask it: an `AgentResult`, at once in `def` code, to be awaited in `async def`."""
        return self._asked(prompt, text=False)

    run = arun
    __call__ = arun

    def chat(self, text: Any, /) -> Any:
        """Like `arun`, with the text as result."""
        return self._asked(text, text=True)

    async def answer(self, text: str, key: str) -> AgentResult:
        """Do what it is for."""
        raise NotImplementedError

    async def tell(self, text: str, key: str) -> AgentResult:
        """Answer, and tell the timeline."""
        _note(self, key, "started")
        try:
            result = await self.answer(text, key)
        except Exception as error:
            mark_step(error, self.name, 1)
            _note(self, key, "failed")
            raise
        _note(self, key, "completed")
        return result

    async def work(self, flow: Flow, given: StepInput, key: str) -> StepOutput:
        """Answer as a node of a workflow."""
        return read_result(await self.answer(given.prompt(), key))

    async def run_stored(self, inputs: dict[str, Any]) -> str:
        """Answer as the workflow that is stored."""
        return (await self.tell(text_of(inputs.get("input")), runtime().scope().key(self.name))).content

    def _asked(self, prompt: Any, *, text: bool) -> Any:
        call = NodeCall(self, text_of(prompt), text=text)
        return drive(call.start()) if runtime().blocking() else call


class NodeCall(Deferred):
    """A call of an agent made of agents, not awaited yet; in a step it belongs to the step's attempts."""

    restartable = True

    def __init__(self, node: AgentNode, prompt: str, *, text: bool) -> None:
        key = runtime().scope().key(node.name)
        super().__init__(f"the call of agent {node.name!r}", caller_line(WORKFLOW_FILE), lambda: self._ask(key), key)
        self._node, self._prompt, self._text = node, prompt, text

    def anew(self) -> Coroutine[Any, Any, Any]:
        """Return the same call made in the current scope."""
        self.started = True
        return self._ask(runtime().scope().key(self._node.name))

    async def _ask(self, key: str) -> Any:
        result = await runtime().run_async(self._node.tell(self._prompt, key), None)
        return result.content if self._text else result


class SequentialAgent(AgentNode):
    """Agents one after the other: each is asked what the one before has answered."""

    kind = "SequentialAgent"

    def __init__(self, name: str | None = None, agents: Iterable[Any] = ()) -> None:
        super().__init__(name)
        self.agents = read_agents(agents, self.name)

    async def answer(self, text: str, key: str) -> AgentResult:
        """Ask the agents in their order."""
        results: list[Any] = []
        with inside(f"{key}~/") as scope:
            for agent in self.agents:
                results.append(await ask(agent, text, scope.key(agent_name(agent))))
                text = text_of(content_of(results[-1]))
        return summed(self.name, text, results)


class ParallelAgent(AgentNode):
    """Agents beside each other, all asked the same; `merge(texts)` makes one text of theirs."""

    kind = "ParallelAgent"

    def __init__(
        self, name: str | None = None, agents: Iterable[Any] = (), merge: Callable[[list[str]], Any] | None = None
    ) -> None:
        super().__init__(name)
        self.agents = read_agents(agents, self.name)
        if merge is not None:
            check_callback(merge, f"agent {self.name!r}: merge=", "the list of the agents' texts")
        self.merge: Callable[[list[str]], Any] = merge or BETWEEN.join

    async def answer(self, text: str, key: str) -> AgentResult:
        """Ask all agents, and merge their texts in the order of the agents."""
        results = await ask_all(self.agents, text, key)
        merged = await decide(self.merge, [text_of(content_of(result)) for result in results], key)
        if merged is None:
            raise wrong_result(f"agent {self.name!r}: merge=", None, "the text that is made of theirs")
        return summed(self.name, text_of(merged), results)


class ConditionalAgent(AgentNode):
    """The agent of the branch that `condition(text)`, sync or async, names; else that of `default_branch`."""

    kind = "ConditionalAgent"

    def __init__(
        self,
        name: str | None = None,
        condition: Callable[[str], Any] | None = None,
        branches: Mapping[Any, Any] | None = None,
        default_branch: Any = None,
    ) -> None:
        super().__init__(name)
        check_callback(condition, f"agent {self.name!r}: condition=", "the text")
        self.condition: Any = condition
        self.branches = dict(branches or {})
        read_agents(self.branches.values(), self.name)
        self.default_branch = default_branch
        if default_branch is not None and not is_agent(default_branch) and default_branch not in self.branches:
            raise ValueError(f"agent {self.name!r}: default_branch= is an agent, or one of the branches")

    async def answer(self, text: str, key: str) -> AgentResult:
        """Ask the agent of the branch; without one say so."""
        found = await decide(self.condition, text, key)
        if not isinstance(found, Hashable):
            raise wrong_result(f"agent {self.name!r}: condition=", found, "the key of a branch")
        agent = self.branches.get(found)
        if agent is None:
            agent = self.default_branch if is_agent(self.default_branch) else self.branches.get(self.default_branch)
        if agent is None:
            return AgentResult(f"No branch matched {found!r}", self.name, cost_usd=0.0)
        with inside(f"{key}~/") as scope:
            result = await ask(agent, text, scope.key(agent_name(agent)))
        return summed(self.name, text_of(content_of(result)), [result])


class LoopAgent(AgentNode):
    """One agent again and again, asked its own answer, until `should_stop(text, iteration)`; the first is 1."""

    kind = "LoopAgent"

    def __init__(
        self,
        name: str | None = None,
        agent: Any = None,
        should_stop: Callable[..., Any] | None = None,
        max_iterations: int = 10,
    ) -> None:
        super().__init__(name)
        [self.agent] = read_agents([agent], self.name)
        if type(max_iterations) is not int or max_iterations < 1:
            raise ValueError(f"max_iterations is a whole number of at least 1, not {max_iterations!r}")
        self._takes_count = should_stop is not None and takes(should_stop, 2) is True
        if should_stop is not None and not self._takes_count:
            check_callback(should_stop, f"agent {self.name!r}: should_stop=", "the text, and the iteration if it may")
        self.should_stop: Any = should_stop
        self.max_iterations = max_iterations

    async def answer(self, text: str, key: str) -> AgentResult:
        """Ask until it is enough."""
        results: list[Any] = []
        for n in range(1, self.max_iterations + 1):
            _note(self, key, "iteration", attempt=n)
            with inside(f"{key}~{n}/") as scope:
                results.append(await ask(self.agent, text, scope.key(agent_name(self.agent))))
            text = text_of(content_of(results[-1]))
            if self.should_stop is not None and await decide(self._stops(n), text, f"{key}~{n}/stop"):
                break
        return summed(self.name, text, results)

    def _stops(self, n: int) -> Callable[[str], Any]:
        return (lambda text: self.should_stop(text, n)) if self._takes_count else self.should_stop


async def ask(agent: Any, text: str, key: str) -> Any:
    """Ask an agent under a key: one made of agents by its nodes, any other in a step."""
    if isinstance(agent, AgentNode):
        return await agent.tell(text, key)
    return await Step(
        agent_name(agent), asked(agent), (text,), {}, DEFAULT, caller_line(WORKFLOW_FILE), key=key
    )  # fmt: skip


async def ask_all(agents: Sequence[Any], text: str, key: str) -> list[Any]:
    """Ask agents beside each other; when all have ended, raise the failure that the run has learned of first."""
    failures: list[Exception] = []

    async def one(work: Awaitable[Any]) -> Any:
        try:
            return await work
        except Exception as error:  # noqa: BLE001  raised when the others have ended
            failures.append(error)

    with inside(f"{key}~/") as scope:
        calls = [ask(agent, text, scope.key(agent_name(agent))) for agent in agents]
        results = await asyncio.gather(*(one(call) for call in calls))
    if failures:
        raise failures[0]
    return results


def read_agents(given: Iterable[Any], owner: str) -> list[Any]:
    """Return a list of agents.

    Raises:
        ValueError: there are none.
        TypeError: one cannot be asked.
    """
    agents = list(given)
    if not agents:
        raise ValueError(f"{owner!r} has no agents")
    for agent in agents:
        if not is_agent(agent):
            raise TypeError(f"{owner!r}: an agent, or an object with arun or chat, not a {type(agent).__name__}")
    return agents


def agent_name(agent: Any) -> str:
    """Return the name of a step that asks an agent."""
    name = getattr(agent, "name", None)
    return name if isinstance(name, str) and name else type(agent).__name__


def summed(name: str, text: str, results: Iterable[Any]) -> AgentResult:
    """Return one result with what all of them have used; the cost is None if that of one is not known."""
    given = list(results)
    counts = {count: sum(int(getattr(result, count, 0) or 0) for result in given) for count in COUNTS}
    costs = [getattr(result, "cost_usd", 0.0) for result in given]
    model = next((result.model for result in reversed(given) if getattr(result, "model", "")), "")
    cost = None if any(item is None for item in costs) else float(sum(costs))
    known = {field.name for field in fields(AgentResult)}
    counts = {count: value for count, value in counts.items() if count in known}
    return AgentResult(text, name, model, cost_usd=cost, **counts)


def _note(node: AgentNode, key: str, what: str, **more: int) -> None:
    runtime().note(f"node.{what}", name=node.name, message=node.kind, depth=depth_of(key), **more)
