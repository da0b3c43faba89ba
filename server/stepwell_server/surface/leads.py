"""Which search led to which run: a request that a completed run answered is an example of what its workflow is for."""

import time
import weakref
from collections import deque
from dataclasses import dataclass
from typing import Any

from mcp.server.mcpserver import Context

from stepwell_server.surface.eras import MODERN

LEAD_S = 900.0  # between a search and the start of what it found
MAX_SEARCHES = 32  # remembered of one client


@dataclass(frozen=True, slots=True)
class _Search:
    at: float
    request: str
    found: tuple[str, ...]


class _Alone:
    """Stands for the client of a connection that nobody shares."""


class Leads:
    """The newest searches of each client, in memory only."""

    def __init__(self) -> None:
        self._clients: weakref.WeakKeyDictionary[object, deque[_Search]] = weakref.WeakKeyDictionary()
        self._alone = _Alone()

    def remember(self, context: Context[Any, Any] | None, request: str, found: list[str]) -> None:
        """Note what a client has searched for and what it was shown."""
        if (client := self._client(context)) is not None:
            searches = self._clients.setdefault(client, deque(maxlen=MAX_SEARCHES))
            searches.append(_Search(time.monotonic(), request, tuple(found)))

    def take(self, context: Context[Any, Any] | None, workflow: str) -> str | None:
        """Return the client's newest request that showed this workflow, once; None if there is none of late."""
        client = self._client(context)
        searches = self._clients.get(client) if client is not None else None
        for search in reversed(searches or ()):
            if searches and workflow in search.found and time.monotonic() - search.at < LEAD_S:
                searches.remove(search)
                return search.request
        return None

    def _client(self, context: Context[Any, Any] | None) -> object | None:
        """Return what stands for the client; None where it cannot be told from others: HTTP without a session."""
        if context is None:
            return None
        request = context.request_context
        if request.request is None:
            return self._alone
        if request.protocol_version < MODERN:
            return request.session._connection  # pyright: ignore[reportPrivateUsage]
        return None
