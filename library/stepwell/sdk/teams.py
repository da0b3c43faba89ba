"""`Team`: agents of which a leader chooses one, whom it directs, or whose answers it puts together."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal

from stepwell.sdk.agent_nodes import AgentNode, agent_name, ask, ask_all, read_agents, summed
from stepwell.sdk.agents import Agent, AgentResult, text_of
from stepwell.sdk.exceptions import StepError
from stepwell.sdk.flow import inside
from stepwell.sdk.node_values import content_of

Mode = Literal["route", "coordinate", "collaborate"]
MODES = ("route", "coordinate", "collaborate")
MAX_ABOUT = 300  # characters of an agent's instructions that the leader is told

_ROUTE = "Choose who shall answer the request. Reply with the name and nothing else. There are:\n"
_COORDINATE = "Solve the request with the help of your team: ask its members by their tools, then answer yourself."
_COLLABORATE = "Several agents have answered one request. Make one answer of theirs."


@dataclass(frozen=True)
class TeamResult(AgentResult):
    """What a team has come to."""

    routed_to: str = ""
    """The agent that the leader has chosen; empty in other modes than `route`."""


class Team(AgentNode):
    """Agents under a leader.

    `route`: one cheap call chooses the agent that answers. `coordinate`: the leader has the agents as tools.
    `collaborate`: all answer beside each other, and the leader puts their answers together. The leader is an agent
    with the host's default model, or `model`, or `leader=`; `router_model` is the model that chooses.
    """

    kind = "Team"

    def __init__(
        self,
        name: str | None = None,
        agents: Iterable[Any] = (),
        mode: Mode = "route",
        *,
        instructions: str = "",
        model: str | None = None,
        router_model: str | None = None,
        leader: Any = None,
        max_turns: int | None = None,
        budget_usd: float | None = None,
    ) -> None:
        super().__init__(name)
        if mode not in MODES:
            raise ValueError(f"mode is one of {', '.join(MODES)}, not {mode!r}")
        self.agents = read_agents(agents, self.name)
        names = [agent_name(agent) for agent in self.agents]
        if len(set(names)) < len(names):
            raise ValueError(f"team {self.name!r}: every agent has a name of its own, and these are {', '.join(names)}")
        if mode == "coordinate" and leader is None and not all(isinstance(agent, Agent) for agent in self.agents):
            raise TypeError(f"team {self.name!r}: a leader has agents of the class Agent as its tools, and no others")
        self.mode: Mode = mode
        self.instructions = instructions
        self.model = router_model or model if mode == "route" else model
        self._limits: dict[str, Any] = {"budget_usd": budget_usd, "max_turns": max_turns}
        [self.leader] = read_agents([leader or self._made_leader()], self.name)

    async def answer(self, text: str, key: str) -> AgentResult:
        """Answer in the way of the team's mode."""
        if self.mode == "route":
            return await self._route(text, key)
        if self.mode == "coordinate":
            with inside(f"{key}~/") as scope:
                result = await ask(self.leader, text, scope.key(agent_name(self.leader)))
            return _of_team(summed(self.name, text_of(content_of(result)), [result]))
        results = await ask_all(self.agents, text, key)
        answers = "\n\n".join(
            f"[{agent_name(agent)}]: {text_of(content_of(result))}"
            for agent, result in zip(self.agents, results, strict=True)
        )
        with inside(f"{key}~/leader/") as scope:
            prompt = f"{text}\n\nAnswers:\n\n{answers}"
            last = await ask(self.leader, prompt, scope.key(agent_name(self.leader)))
        return _of_team(summed(self.name, text_of(content_of(last)), [*results, last]))

    async def _route(self, text: str, key: str) -> AgentResult:
        with inside(f"{key}~/") as scope:
            choice = await ask(self.leader, text, scope.key(agent_name(self.leader)))
            chosen = self._named(text_of(content_of(choice)))
            result = await ask(chosen, text, scope.key(agent_name(chosen)))
        answered = summed(self.name, text_of(content_of(result)), [choice, result])
        return _of_team(answered, routed_to=agent_name(chosen))

    def _named(self, said: str) -> Any:
        by_name = {agent_name(agent).lower(): agent for agent in self.agents}
        wanted = said.strip().strip("`'\".").lower()
        if wanted in by_name:
            return by_name[wanted]
        mentioned = [agent for name, agent in by_name.items() if name in wanted]
        if len(mentioned) != 1:
            names = ", ".join(agent_name(agent) for agent in self.agents)
            raise StepError(
                f"the leader of team {self.name!r} chose {said[:100]!r}, and there are: {names}", code="unknown_route"
            )
        return mentioned[0]

    def _made_leader(self) -> Agent:
        name = f"{self.name}-{'router' if self.mode == 'route' else 'leader'}"
        limits = {limit: value for limit, value in self._limits.items() if value is not None}
        if self.mode == "coordinate":
            told = f"{self.instructions or _COORDINATE}"
            return Agent(name, told, self.model, tools=self.agents, **limits)
        if self.mode == "collaborate":
            return Agent(name, self.instructions or _COLLABORATE, self.model, **limits)
        listed = "\n".join(f"- {agent_name(agent)}: {_about(agent)}" for agent in self.agents)
        told = f"{self.instructions}\n\n{_ROUTE}{listed}".strip()
        return Agent(name, told, self.model, max_tokens=100, **limits)


def _about(agent: Any) -> str:
    return " ".join(str(getattr(agent, "instructions", "") or type(agent).__name__).split())[:MAX_ABOUT]


def _of_team(result: AgentResult, routed_to: str = "") -> TeamResult:
    known = {field.name: getattr(result, field.name) for field in fields(AgentResult)}
    return TeamResult(**known, routed_to=routed_to)
