"""New calls that a replay keeps back until no recorded outcome is due.

A recorded outcome may cancel the task that made a call, as it did the first time: then nobody waits for the call any
more, and it is never sent.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stepwell.sdk.scope import Scope
from stepwell_sandbox.guest.pending import Pending


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """A call's frame, and who waits for its outcome."""

    pending: Pending
    frame: dict[str, Any]
    scope: Scope | None
    """Of the code that made it."""


class Held:
    """Requests in the order in which they were made."""

    def __init__(self, send: Callable[[Pending, dict[str, Any], Scope | None], None]) -> None:
        self._send = send
        self._requests: list[Request] = []

    def __bool__(self) -> bool:
        return bool(self._requests)

    def add(self, request: Request) -> None:
        """Keep one back."""
        self._requests.append(request)

    def drop(self, pending: Pending) -> bool:
        """Forget the call that `pending` waits for; False if that is not here."""
        kept = [request for request in self._requests if request.pending is not pending]
        found = len(kept) < len(self._requests)
        self._requests = kept
        return found

    def send(self) -> None:
        """Send all."""
        sent, self._requests = self._requests, []
        for request in sent:
            self._send(request.pending, request.frame, request.scope)
