"""The one entrance through which nodes ask agents and teams."""

from collections.abc import Callable
from typing import Any

from stepwell.sdk.handles import HostFunction

_METHODS = ("arun", "chat")


def is_agent(value: Any) -> bool:
    """Whether it can be asked something: an agent, a team, or an object with `arun` or `chat`."""
    if isinstance(value, type):
        return False
    return (isinstance(value, HostFunction) and value.kind == "agent") or any(
        callable(getattr(value, name, None)) for name in _METHODS
    )


def asked(agent: Any) -> Callable[[Any], Any]:
    """Return what a step runs to ask it."""
    if isinstance(agent, HostFunction):
        return agent
    method: Any = next(getattr(agent, name) for name in _METHODS if callable(getattr(agent, name, None)))

    async def ask(prompt: Any) -> Any:
        answer = method(prompt)
        return await answer if hasattr(answer, "__await__") else answer

    return ask
