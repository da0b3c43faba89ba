"""What somebody in the guest waits for."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from stepwell.sdk import codec
from stepwell.sdk.classes import find_class
from stepwell_sandbox.guest import failure


class Pending:
    """One call or step whose outcome somebody waits for."""

    __slots__ = ("at", "done", "error", "event", "future", "key", "kind", "mark", "on_turn", "ordered", "value")

    def __init__(self, key: str, kind: str, *, ordered: bool) -> None:
        self.key = key
        self.kind = kind
        self.ordered = ordered
        self.done = False
        self.mark = 0
        self.at = 0.0
        self.value: Any = None
        self.error: dict[str, Any] | None = None
        self.future: asyncio.Future[None] | None = None
        self.event: threading.Event | None = None
        self.on_turn: Callable[[], None] | None = None

    def settle(self, at: float, value: Any, error: dict[str, Any] | None) -> None:
        """Take the outcome."""
        self.done, self.at, self.value, self.error = True, at, value, error

    def take(self) -> Any:
        """Return or raise the outcome as the workflow gets it."""
        if self.error is not None:
            error: Any = failure.rebuild(self.error)
            error.__stepwell_key__ = self.key
            raise error
        return codec.decode(self.value, find_class)


def origin_key(error: BaseException) -> str | None:
    """Return the entry of the journal whose failure an exception is, or was raised for."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        key = getattr(current, "__stepwell_key__", None)
        if key is not None:
            return str(key)
        seen.add(id(current))
        current = current.__cause__ or current.__context__
    return None
