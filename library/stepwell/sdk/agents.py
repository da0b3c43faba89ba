"""Agents: a language model on the host that works towards an answer with tools.

The host asks the model, calls the tools, and journals each; what an agent is given of the workflow's own functions is
called here, each as a step. An agent's call that was made and not awaited is a description: handed to a step, it
belongs to the step's attempts and runs anew in each.
"""

import asyncio
import json
import types
import typing
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from stepwell.sdk import codec
from stepwell.sdk.agent_functions import read_tools
from stepwell.sdk.conversation import Conversations, Exchange
from stepwell.sdk.exceptions import AgentError
from stepwell.sdk.handles import WORKFLOW_FILE, HostFunction, caller_line
from stepwell.sdk.inference import read_inference
from stepwell.sdk.options import StepOptions
from stepwell.sdk.runtime import Deferred, drive, runtime
from stepwell.sdk.schemas import mistakes_in, schema_of
from stepwell.sdk.scope import enter_scope, leave_scope
from stepwell.sdk.step import DESCRIBED, Step

MAX_TURNS = 1000
MAX_USD = 1_000_000
MAX_SHOWN = 8000  # characters of a function's failure that the model gets


@dataclass(frozen=True)
class AgentResult:
    """What an agent's call has come to."""

    output: Any
    """Text, or a value of the agent's `output_type`."""
    agent: str = ""
    model: str = ""
    """The one that gave the last turn."""
    tokens_used: int = 0
    input_tokens: int = 0
    """All that the model was given, whether from its cache or not."""
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd: float | None = None
    """None if the price of the model is not known."""
    steps: int = 0
    """Turns of the model."""

    @property
    def content(self) -> str:
        """The output as text."""
        return text_of(self.output)

    def __str__(self) -> str:
        return self.content


class Agent(HostFunction):
    """A model with instructions and tools. Call it with a prompt: `await agent("...")`.

    `tools` are names (`"fetch"`, `"github.*"`, `"workflows.name"`), `tools.x`, `workflows.x`, functions of this
    module, or other agents. What is not given is the host's default.
    """

    def __init__(
        self,
        name: str = "agent",
        instructions: str = "",
        model: str | None = None,
        tools: Iterable[Any] = (),
        max_turns: int | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        output_type: Any = None,
        budget_usd: float | None = None,
        **inference: Any,
    ) -> None:
        super().__init__("agent", _named(name))
        self.instructions, self.model, self.max_turns = str(instructions), model, max_turns
        if max_turns is not None and (type(max_turns) is not int or not 0 < max_turns <= MAX_TURNS):
            raise ValueError(f"max_turns is a whole number from 1 to {MAX_TURNS}, not {max_turns!r}")
        given: Any = budget_usd
        is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
        if given is not None and not (is_number and 0 <= given < MAX_USD):  # NaN is neither
            raise ValueError(f"budget_usd is a number of dollars from 0 (no bound) to {MAX_USD:,}, not {budget_usd!r}")
        if model is not None and not (isinstance(model, str) and model):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"model is the name of a model, not {model!r}")
        self.budget_usd = budget_usd
        self.output_type = _read_type(output_type)
        self.inference = read_inference({"temperature": temperature, "max_tokens": max_tokens} | inference)
        self.tools, self._functions = read_tools(tools)
        self._configured = False
        self._conversations = Conversations()

    @classmethod
    def configured(cls, name: str) -> "Agent":
        """Return the agent of that name in the host's configuration."""
        agent = cls(name)
        agent._configured = True
        return agent

    def __call__(self, prompt: Any, /, **options: Any) -> Any:
        """Ask the agent: an `AgentResult`, at once in `def` code, to be awaited in `async def`."""
        return self._made(AgentCall(self.with_options(options), prompt))

    arun = __call__
    run = __call__

    def chat(self, text: Any, /, **options: Any) -> Any:
        """Say something in the conversation with the agent, and return the text of its answer.

        The workflow's body has one conversation with this object, each attempt of a step one of its own.
        """
        return self._made(Chat(self.with_options(options), text))

    def forget(self) -> None:
        """Let the next chat begin a new conversation."""
        self._conversations.forget(runtime().scope().path)

    async def start(self, *args: Any, **kwargs: Any) -> Any:
        """Ask the agent in the current scope."""
        prompt, options = _bound(args, kwargs)
        return await self.with_options(options).ask(prompt, runtime().scope().key(self.name))

    def with_options(self, options: dict[str, Any]) -> "Agent":
        """Return the agent with the `output_type` or `session` of one call."""
        unknown = options.keys() - {"output_type"}
        if unknown:
            raise TypeError(f"an agent's call has no option {', '.join(sorted(unknown))}; there is output_type")
        if not options:
            return self
        agent = Agent.__new__(Agent)
        agent.__dict__.update(self.__dict__)
        agent.output_type = _read_type(options["output_type"])
        return agent

    def _made(self, call: "AgentCall") -> Any:
        return drive(call.start()) if runtime().blocking() else call

    def converse(self, text: str) -> tuple[list[list[str]], Exchange]:
        """Return what was said here before, and the exchange that begins with a text."""
        return self._conversations.begin(runtime().scope().path, text)

    async def ask(self, prompt: Any, key: str, history: list[list[str]] | None = None) -> AgentResult:
        """Ask the agent under a key; `history` are the texts said before and their answers."""
        rt = runtime()
        given = {"prompt": text_of(prompt)} | self._described() | ({"history": history} if history else {})
        found: dict[str, Any] = await rt.call("agent", self.name, [], given, key)
        more = 0
        while True:
            if "calls" in found:
                given = {"results": await self._call_functions(found["calls"], f"{key}!calls{more + 1}/")}
            else:
                output, mistake = self._output(found)
                if mistake is None:
                    return AgentResult(output, self.name, **found["done"])
                if found.get("repaired"):
                    raise AgentError(
                        f"agent {self.name!r} gave no output of the type asked for: {mistake}", agent=self.name,
                        code="invalid_output", partial=str(found.get("text") or "")[:MAX_SHOWN],
                    )  # fmt: skip
                given = {"repair": mistake}
            more += 1
            found = await rt.call("agent", self.name, [], given, f"{key}!more{more}")

    def _described(self) -> dict[str, Any]:
        output = {} if self.output_type is None else {"output": _wrapped(schema_of(self.output_type))}
        if self._configured:
            return output
        given: dict[str, Any] = {
            "instructions": self.instructions or None,
            "model": self.model,
            "tools": self.tools or None,
            "functions": [function.described() for function in self._functions.values()] or None,
            "max_turns": self.max_turns,
            "inference": self.inference or None,
            "budget_usd": self.budget_usd,
        }
        return {"agent": {name: value for name, value in given.items() if value is not None}} | output

    def _output(self, found: dict[str, Any]) -> tuple[Any, str | None]:
        """Return the output as its type, and what is wrong with it."""
        if self.output_type is None:
            return found.get("text", ""), None
        value: Any = found.get("output")
        if value is None:
            value = _read_json(str(found.get("text") or ""))
            if value is None:
                return None, "call the tool submit_result with the result"
        schema = schema_of(self.output_type)
        if schema.get("type") != "object" and isinstance(value, dict) and value.keys() == {"value"}:
            value = value["value"]
        if mistakes := mistakes_in(value, schema):
            return None, "; ".join(mistakes)
        try:
            wanted = None if isinstance(self.output_type, dict) else self.output_type
            return (runtime().convert(value, wanted) if wanted is not None else value), None
        except Exception as error:  # noqa: BLE001  the author's class refuses the value
            return None, f"{type(error).__name__}: {error}"[:MAX_SHOWN]

    async def _call_functions(self, calls: list[dict[str, Any]], path: str) -> list[dict[str, Any]]:
        rt = runtime()
        inner = rt.scope().inside(path)
        token = enter_scope(inner)
        try:
            steps = [(call, self._step(call)) for call in calls]
            if rt.blocking():
                return [await _answered(call, step) for call, step in steps]
            waiting = asyncio.gather(*(_answered(call, step) for call, step in steps))
        finally:
            leave_scope(token)
        return await waiting

    def _step(self, call: dict[str, Any]) -> Step:
        function = self._functions[call["name"]]
        work, args = function.work(call["arguments"])
        return Step(function.name, work, args, {}, StepOptions(), caller_line(WORKFLOW_FILE))


class AgentCall(Deferred):
    """A call of an agent that was made and not awaited yet."""

    restartable = True

    def __init__(self, agent: Agent, prompt: Any) -> None:
        key = runtime().scope().key(agent.name)
        super().__init__(f"the call of agent {agent.name!r}", caller_line(WORKFLOW_FILE), lambda: self._ask(key), key)
        self._agent, self._prompt = agent, prompt

    def anew(self) -> Coroutine[Any, Any, Any]:
        """Return the same call made in the current scope."""
        self.started = True
        return self._ask(runtime().scope().key(self._agent.name))

    async def _ask(self, key: str) -> Any:
        return await self._agent.ask(self._prompt, key)


class Chat(AgentCall):
    """A call that goes on with a conversation; handed to a step, with that of the code that made it."""

    def __init__(self, agent: Agent, text: Any) -> None:
        super().__init__(agent, text_of(text))
        self._history, self._exchange = agent.converse(self._prompt)

    def ended(self, value: Any) -> None:
        """Remember the answer."""
        self._exchange.answer = text_of(value)

    async def _ask(self, key: str) -> str:
        result = await self._agent.ask(self._prompt, key, self._history)
        self.ended(result.content)
        return result.content


def _describe_chat(agent: Agent, text: Any, /, **options: Any) -> Chat:
    return Chat(agent.with_options(options), text)


DESCRIBED[Agent.chat] = _describe_chat


class AgentsHandle:
    """Agents of the host's configuration, by name."""

    list = HostFunction("query", "agents.list", lambda: ([], {}))

    def __getattr__(self, name: str) -> Agent:
        if name.startswith("_"):
            raise AttributeError(name)
        agent = self.__dict__[name] = Agent.configured(name)  # one object, so that its chats are one conversation
        return agent


def make_agent(name: str = "agent", **given: Any) -> Agent:
    """`ctx.agent(...)`: an `Agent`; with nothing but a name the one that the host has under it."""
    return Agent(name, **given) if given else Agent.configured(name)


def text_of(value: Any) -> str:
    """Return a prompt as text: of a result its output, of other values their JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, AgentResult):
        return text_of(value.output)
    if value is None:
        return ""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return json.dumps(codec.encode(value, "the prompt"), ensure_ascii=False)


def _named(name: Any) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= 100 or not name.isprintable():
        raise ValueError(f"an agent's name is 1 to 100 printable characters, not {name!r}")
    return name


def _bound(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    if "prompt" in kwargs and not args:
        return kwargs["prompt"], {name: value for name, value in kwargs.items() if name != "prompt"}
    if len(args) != 1:
        raise TypeError(f"an agent takes one prompt, not {len(args)}")
    return args[0], kwargs


def _read_type(given: Any) -> Any:
    # What models give is paid for before it is checked, so what is no type is refused here.
    if given is None or isinstance(given, (type, dict, typing.NewType, types.UnionType)) or given is Any:
        return given
    if typing.get_origin(given) is None:
        raise TypeError(f"output_type is a class, a type such as list[int], or a JSON Schema, not {given!r}"[:300])
    return given


async def _answered(call: dict[str, Any], step: Step) -> dict[str, Any]:
    try:
        value = await step.start()
    except Exception as error:  # noqa: BLE001  the author's function: the model is told
        return {"id": call["id"], "error": f"{type(error).__name__}: {error}"[:MAX_SHOWN]}
    return {"id": call["id"], "text": text_of(value)}


def _wrapped(schema: dict[str, Any]) -> dict[str, Any]:
    # The arguments of a tool are an object.
    if schema.get("type") == "object":
        return schema
    return {"type": "object", "properties": {"value": schema}, "required": ["value"]}


def _read_json(text: str) -> Any:
    text = text.strip()
    if text.startswith("```"):
        text = text.partition("\n")[2].rpartition("```")[0]
    try:
        return json.loads(text)
    except ValueError:
        return None


agents = AgentsHandle()
