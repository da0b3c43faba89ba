"""The author's functions that nodes call: checked where they are given, so that no agent is asked in vain."""

import inspect
from collections.abc import Callable
from typing import Any


def check_callback(fn: Any, what: str, gets: str, count: int = 1) -> None:
    """Check a function that is called with so many positional arguments; `what` is `router 'pick': selector=`.

    Raises:
        TypeError: it is none, or does not take them.
    """
    if not callable(fn):
        raise TypeError(f"{what} is a function of {gets}, not a {type(fn).__name__}")
    if takes(fn, count) is False:
        name = getattr(fn, "__name__", type(fn).__name__)
        raise TypeError(f"{what} is called with {gets}; {name}{inspect.signature(fn)} does not take that")


def takes(fn: Callable[..., Any], count: int) -> bool | None:
    """Return whether a function can be called with so many positional arguments; None if nobody knows."""
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):  # of C code
        return None
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def wrong_result(what: str, found: Any, wanted: str) -> TypeError:
    """Return the error for what a function of the author's gave."""
    return TypeError(f"{what} returned {found!r}"[:300] + f"; it returns {wanted}")
