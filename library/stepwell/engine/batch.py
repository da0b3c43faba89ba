"""What one run writes in one transaction.

Rows that are alike are collected and written by one statement: a fast run makes thousands of them in a second, and
a statement of its own for each would be most of the time of a step.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field

from stepwell.store import journal, timeline
from stepwell.store.journal import Entry
from stepwell.store.timeline import NewEvent, NewLog

ROW_BYTES = 300
Write = Callable[[sqlite3.Connection], object]


@dataclass(slots=True)
class _Rows:
    """Rows that follow each other. Their tables do not depend on each other, so only the order within one counts."""

    run_id: str
    entries: list[Entry] = field(default_factory=list[Entry])
    deliveries: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    events: list[NewEvent] = field(default_factory=list[NewEvent])
    logs: list[NewLog] = field(default_factory=list[NewLog])

    def __call__(self, connection: sqlite3.Connection) -> None:
        journal.put_entries(connection, self.run_id, self.entries)
        journal.put_deliveries(connection, self.run_id, self.deliveries)
        timeline.add_events(connection, self.run_id, self.events)
        timeline.add_logs(connection, self.run_id, self.logs)


class Batch:
    """Writes in their order."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._writes: list[Write] = []
        self._open: _Rows | None = None
        self.weight = 0
        """What it takes of memory until it is written, in bytes, about."""
        self.binding = False
        """Whether it holds what later calls of the run can depend on: more than its timeline."""

    def add(self, write: Write, *, binding: bool = True) -> None:
        """Add any write."""
        self._writes.append(write)
        self._open = None
        self.weight += ROW_BYTES
        self.binding |= binding

    def entry(self, entry: Entry) -> None:
        """Add an entry of the journal, or its outcome."""
        self._rows().entries.append(entry)
        self.weight += ROW_BYTES + len(entry.value or b"") + len(entry.args or b"")
        self.binding = True

    def delivery(self, seq: int, n: int) -> None:
        """Add that the outcome of an entry was the `n`-th delivered."""
        self._rows().deliveries.append((seq, n))
        self.weight += ROW_BYTES
        self.binding = True

    def event(self, event: NewEvent) -> None:
        """Add to the timeline."""
        self._rows().events.append(event)
        self.weight += ROW_BYTES

    def log(self, log: NewLog) -> None:
        """Add a line of output."""
        self._rows().logs.append(log)
        self.weight += ROW_BYTES + len(log.text)

    def write(self, connection: sqlite3.Connection) -> None:
        """Write all of it, in the caller's transaction."""
        for write in self._writes:
            write(connection)
        while self._writes:  # freed here, one by one: thousands at a time would hold up the event loop
            self._writes.pop()

    def _rows(self) -> _Rows:
        if self._open is None:
            self._open = _Rows(self._run_id)
            self._writes.append(self._open)
        return self._open
