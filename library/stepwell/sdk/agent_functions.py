"""What an agent may use: names of tools, functions of the workflow, other agents."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from stepwell.sdk.function_context import wants_context
from stepwell.sdk.handles import HostFunction, ToolPath, ToolsHandle
from stepwell.sdk.runtime import runtime
from stepwell.sdk.schemas import mistakes_in, parameters_schema
from stepwell.sdk.step import step_name

CONTEXT_NAMES = ("ctx", "wf")


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the workflow that a model may call."""

    name: str
    fn: Callable[..., Any]
    schema: dict[str, Any]
    hints: dict[str, Any]

    def described(self) -> dict[str, Any]:
        """Return what the model is told."""
        doc = inspect.getdoc(self.fn) or ""
        return {"name": self.name, "description": doc[:4000], "schema": self.schema}

    def work(self, arguments: dict[str, Any]) -> tuple[Any, tuple[Any, ...]]:
        """Return what a step runs for a call with these arguments, and what it is given."""
        if isinstance(self.fn, HostFunction):
            return self.fn, (arguments.get("prompt", ""),)
        given = arguments
        convert, hints, fn = runtime().convert, self.hints, self.fn

        def checked() -> dict[str, Any]:
            if mistakes := mistakes_in(given, self.schema):
                raise ValueError("; ".join(mistakes))
            return {name: convert(value, hints.get(name, Any)) for name, value in given.items()}

        if inspect.iscoroutinefunction(fn):

            async def asked() -> Any:
                return await fn(**checked())

            return asked, ()
        return (lambda: fn(**checked())), ()


def read_tools(given: Iterable[Any]) -> tuple[list[str], dict[str, Function]]:
    """Return the names of the host's tools, and the workflow's own functions by name.

    Raises:
        TypeError: one is no tool.
        ValueError: two functions have one name.
    """
    names: list[str] = []
    functions: dict[str, Function] = {}
    for tool in [given] if isinstance(given, str) else given:
        if isinstance(tool, str):
            names.append(tool)
        elif isinstance(tool, ToolsHandle):
            names.append("*")
        elif isinstance(tool, ToolPath):
            names.append(tool.name)
        elif isinstance(tool, HostFunction) and tool.kind == "agent":
            _add(functions, Function(tool.name, tool, _prompt_schema(tool), {}))
        elif isinstance(tool, HostFunction) and tool.kind == "child":
            names.append(f"workflows.{tool.name}")
        elif callable(tool) and not isinstance(tool, HostFunction):
            _add(functions, _read_function(tool))
        else:
            raise TypeError(f"a tool is a name, tools.x, workflows.x, a function or an agent, not {tool!r}"[:300])
    return names, functions


def _add(functions: dict[str, Function], function: Function) -> None:
    if function.name in functions:
        raise ValueError(f"two tools of an agent are named {function.name!r}")
    functions[function.name] = function


def _read_function(fn: Callable[..., Any]) -> Function:
    name = step_name(fn)
    if wants_context(fn):
        raise TypeError(f"{name}: a function that is an agent's tool takes no context; `ctx` is there without it")
    schema, hints = parameters_schema(fn)
    if any(taken in schema["properties"] for taken in CONTEXT_NAMES):
        raise TypeError(f"{name}: a function that is an agent's tool takes no context; `ctx` is there without it")
    return Function(name, fn, schema, hints)


def _prompt_schema(agent: Any) -> dict[str, Any]:
    about = agent.instructions[:500] or f"What the agent {agent.name} is asked."
    prompt = {"type": "string", "description": about}
    return {"type": "object", "properties": {"prompt": prompt}, "required": ["prompt"], "additionalProperties": False}
