"""How large a run's journal may become."""

from dataclasses import replace

from stepwell.errors import LimitExceeded
from stepwell.ports import Limits
from stepwell.ports.limits import show_limit
from stepwell.store.journal import Entry

ENTRY_BYTES = 100  # what an entry takes besides its texts and values


class Room:
    """Counts what a journal holds. An entry is refused before it is made; the outcome of a call always has room.

    A call is refused while less is left than a large outcome takes, so that what has happened can be recorded.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._reserve = min(limits.frame_bytes, limits.journal_bytes // 8)
        self._entries = 0
        self._bytes = 0

    def take_step(self, size: int) -> None:
        """Make room for an entry that comes with its outcome.

        Raises:
            LimitExceeded: the journal is full; nothing was taken.
        """
        self._take(size, 0)

    def take_call(self, size: int) -> None:
        """Make room for an entry that gets its outcome later.

        Raises:
            LimitExceeded: as `take_step`.
        """
        self._take(size, self._reserve)

    def add(self, entries: int, size: int) -> None:
        """Count what is there, or by negative numbers what is there no more."""
        self._entries += entries
        self._bytes += size

    def _take(self, size: int, reserve: int) -> None:
        limits = self._limits
        if self._entries >= limits.journal_entries:
            raise _full("journal_entries", limits.journal_entries, "")
        if self._bytes + size + reserve > limits.journal_bytes:
            raise _full("journal_bytes", limits.journal_bytes, f" It holds {self._bytes} bytes, {size} more were due.")
        self.add(1, size)


def doubled(limits: Limits) -> Limits:
    """Return limits for a run that undoes its steps, which may have filled its journal."""
    return replace(limits, journal_entries=2 * limits.journal_entries, journal_bytes=2 * limits.journal_bytes)


def entry_size(entry: Entry) -> int:
    """Return the bytes of an entry, about."""
    texts = len(entry.key) + len(entry.name) + len(entry.error or "")
    return ENTRY_BYTES + texts + len(entry.args or b"") + len(entry.value or b"")


def _full(name: str, limit: int, more: str) -> LimitExceeded:
    return LimitExceeded(f"the run's journal is full: {name} = {show_limit(name, limit)}.{more}", limit=name)
