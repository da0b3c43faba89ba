"""What makes a function of the operator's own Python code a tool of workflows.

::

    from stepwell.host_tools import tool

    @tool(read_only=True)
    def area(width: float, height: float) -> float:
        "Return the area of a rectangle."
        return width * height
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, overload

F = TypeVar("F", bound=Callable[..., Any])
ATTRIBUTE = "__stepwell_tool__"
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Marked:
    """What the decorator says of a function."""

    name: str
    read_only: bool
    idempotent: bool
    destructive: bool
    timeout_s: float


@overload
def tool(function: F, /) -> F: ...


@overload
def tool(
    *,
    name: str = "",
    read_only: bool = False,
    idempotent: bool = False,
    destructive: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> Callable[[F], F]: ...


def tool(
    function: Any = None,
    /,
    *,
    name: str = "",
    read_only: bool = False,
    idempotent: bool = False,
    destructive: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> Any:
    """Mark a function, sync or async, whose type hints become its schema and whose docstring its description.

    A parameter named `idempotency_key` is filled by the host and not shown to workflows. The function may raise
    `stepwell.ToolError` to say its code and whether it may be tried again.
    """

    def mark(marked: Any) -> Any:
        setattr(marked, ATTRIBUTE, Marked(name or marked.__name__, read_only, idempotent, destructive, timeout_s))
        return marked

    return mark if function is None else mark(function)
