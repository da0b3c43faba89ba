"""Who in this process wants to know what happens to a run."""

import asyncio
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager


class Signals:
    """Wakes the tasks of this process that wait for news of a run."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)

    def notify(self, run_id: str) -> None:
        """There is news of the run: an event, a decision, its end."""
        for event in self._waiting.get(run_id, ()):
            event.set()

    def notify_all(self) -> None:
        """Another process has written something."""
        for events in self._waiting.values():
            for event in events:
                event.set()

    @contextmanager
    def watch(self, run_id: str, event: asyncio.Event | None = None) -> Generator[asyncio.Event, None, None]:
        """Give an event, or the given one, that is set at every news; the watcher clears it."""
        event = event or asyncio.Event()
        self._waiting[run_id].add(event)
        try:
            yield event
        finally:
            self._waiting[run_id].discard(event)
            if not self._waiting[run_id]:
                del self._waiting[run_id]
