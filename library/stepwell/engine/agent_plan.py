"""What an agent is: from its call and the host's configuration, kept in the journal when it is first asked."""

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
from msgspec import Struct

from stepwell.engine.services import Services
from stepwell.errors import InvalidArguments, ModelFailure, NotFound, ToolFailure
from stepwell.model import JsonObject
from stepwell.ports import AgentSettings, Caller
from stepwell.sdk.inference import read_inference

MAX_TOOLS = 256
MAX_TURNS, DEFAULT_TURNS = 1000, 20
MAX_TOKENS = 8192  # of one answer, where nothing else is asked for
MAX_NAME = 64  # characters of a tool's name that every provider takes
UNSAFE = re.compile(r"[^a-zA-Z0-9_-]")
WORKFLOWS = "workflows."
SUBMIT = "submit_result"
SUBMIT_TEXT = f"When you are done, call the tool {SUBMIT} once with the result, instead of answering in text."


class Function(Struct, forbid_unknown_fields=True):
    """A function of the workflow, as the guest describes it."""

    name: str
    schema: dict[str, Any]
    description: str = ""


class Described(Struct, forbid_unknown_fields=True):
    """An agent as a workflow's source has it."""

    instructions: str = ""
    model: str | None = None
    tools: list[str] = []
    functions: list[Function] = []
    max_turns: int | None = None
    inference: dict[str, Any] = {}
    budget_usd: float | None = None


class Asked(Struct, forbid_unknown_fields=True):
    """The arguments of an agent's call."""

    prompt: str
    agent: Described | None = None
    """None: the one that the host has under the name."""
    output: dict[str, Any] | None = None
    history: list[tuple[str, str]] = []
    """What was said before, each with its answer."""


class Tool(Struct):
    """One tool as the model gets it."""

    name: str
    """What the model calls it."""
    kind: str
    """`tool`, `workflow`, `function` or `submit`."""
    target: str
    description: str
    schema: dict[str, Any]

    def described(self) -> JsonObject:
        """Return it as it goes to the model."""
        schema = self.schema if self.schema.get("type") == "object" else {"type": "object", "properties": {}}
        return {"name": self.name, "description": self.description, "input_schema": schema}


class Plan(Struct):
    """One agent's call, with all that it was made from: the same in every attempt, whatever is configured since."""

    agent: str
    prompt: str
    system: str
    model: str | None
    tools: list[Tool]
    max_turns: int
    inference: dict[str, Any]
    budget_usd: float | None
    output: bool = False
    operators: bool = False
    """Whether the operator has chosen its tools, not the workflow."""
    history: list[tuple[str, str]] = []


def read_asked(kwargs: JsonObject) -> Asked:
    """Return the arguments of a call.

    Raises:
        InvalidArguments: they are none that the authoring API makes, or a parameter is out of its range.
    """
    try:
        asked = msgspec.convert(kwargs, Asked)
        if asked.agent is not None:
            asked.agent.inference = read_inference(asked.agent.inference)
    except (msgspec.ValidationError, TypeError, ValueError) as error:
        raise InvalidArguments(f"the agent cannot be asked: {error}"[:500]) from error
    return asked


async def make_plan(services: Services, caller: Caller, name: str, asked: Asked) -> Plan:
    """Return the plan of a call.

    Raises:
        InvalidArguments: a tool or a number is none.
        NotFound: the host has no agent of that name.
    """
    described = asked.agent or _configured(services.models.list_agents(), name)
    turns = DEFAULT_TURNS if described.max_turns is None else described.max_turns
    if not 0 < turns <= MAX_TURNS:
        raise InvalidArguments(f"max_turns is a whole number from 1 to {MAX_TURNS}, not {turns}")
    if described.budget_usd is not None and not 0 <= described.budget_usd < 1e6:
        raise InvalidArguments(f"budget_usd is a number of dollars, not {described.budget_usd!r}")
    operators = asked.agent is None
    caller = replace(caller, tools=None) if operators else caller
    tools = _Tools()
    for pattern in described.tools:
        await _add_named(services, caller, tools, pattern)
    for function in described.functions:
        tools.add("function", function.name, function.description, function.schema)
    system = described.instructions
    if asked.output is not None:
        tools.add("submit", SUBMIT, "Give the result of your work, and end it.", asked.output)
        system = f"{system}\n\n{SUBMIT_TEXT}".strip()
    return Plan(
        name, asked.prompt, system, described.model, tools.listed, turns, described.inference,
        # 0 is none, as for a run.
        described.budget_usd or None, asked.output is not None, operators, asked.history,
    )  # fmt: skip


def _configured(agents: Sequence[AgentSettings], name: str) -> Described:
    for agent in agents:
        if agent.name == name:
            return Described(
                agent.instructions, agent.model, list(agent.tools), [], agent.max_turns, dict(agent.inference),
                agent.budget_usd,
            )  # fmt: skip
    names = ", ".join(agent.name for agent in agents)
    raise NotFound(
        f"there is no agent {name[:80]!r} on this host",
        hint=(f"There are: {names}. " if names else "")
        + f"The operator adds [agents.{name[:80]}] to stepwell.toml; or define it here: Agent({name[:80]!r}, "
        "instructions=...).",
    )


class _Tools:
    def __init__(self) -> None:
        self.listed: list[Tool] = []
        self._names: set[str] = set()
        self._targets: set[tuple[str, str]] = set()

    def add(self, kind: str, target: str, description: str, schema: JsonObject) -> None:
        if (kind, target) in self._targets:
            return
        if len(self.listed) >= MAX_TOOLS:
            raise InvalidArguments(f"an agent has at most {MAX_TOOLS} tools; name those that it needs")
        full = f"workflow__{target}" if kind == "workflow" else target.replace(".", "__")
        name = base = UNSAFE.sub("_", full)[:MAX_NAME]
        n = 1
        while name in self._names:
            n += 1
            name = f"{base[: MAX_NAME - 4]}_{n}"
        self._names.add(name)
        self._targets.add((kind, target))
        self.listed.append(Tool(name, kind, target, description[:4000], schema))


async def _add_named(services: Services, caller: Caller, tools: _Tools, pattern: str) -> None:
    if pattern.startswith(WORKFLOWS):
        workflow = await services.workflows.get(pattern.removeprefix(WORKFLOWS))
        version = workflow.version
        tools.add("workflow", workflow.name, workflow.description or version.description, version.schema)
        return
    await services.tools.prepare("" if pattern == "*" else pattern)
    found = [spec for spec in services.tools.list_tools() if fnmatch.fnmatchcase(spec.name, pattern)]
    if not found:
        missing = await services.tools.missing(pattern)
        text = f"an agent was given the tool {pattern[:80]!r}, which there is not: {missing.message}"
        raise InvalidArguments(text, hint=missing.hint)
    for spec in found:
        try:
            admitted = services.tools.admit(spec.name, caller)
        except ToolFailure as error:
            if spec.name == pattern:
                raise InvalidArguments(f"an agent was given a tool: {error.message}", hint=error.hint) from error
            continue  # a pattern means what there is for this workflow
        tools.add("tool", admitted.name, admitted.description, admitted.schema)


def refused(error: Exception) -> ModelFailure:
    """Return what a workflow gets for a call that cannot be made."""
    hint = str(getattr(error, "hint", ""))
    return ModelFailure(
        str(getattr(error, "message", error)), code=str(getattr(error, "code", "bad_request")), hint=hint
    )
