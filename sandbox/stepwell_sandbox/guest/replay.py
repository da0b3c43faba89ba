"""The recorded part of a run: what its journal answers instead of the host."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from stepwell.sdk.exceptions import NonDeterminismError

_ATTEMPT = re.compile(r"@\d+/")


@dataclass(slots=True)
class Record:
    """One entry of the journal as the guest gets it (`frames.Recorded`)."""

    key: str
    label: str
    status: str
    at: float
    mark: int
    attempt: int
    value: Any
    error: dict[str, Any] | None
    started: float
    """Of a step's attempt, unix seconds."""

    @property
    def finished(self) -> bool:
        """Whether it has an outcome."""
        return self.status in ("ok", "error")


class Replay:
    """Recorded entries by key, and the order in which their outcomes were delivered to the body."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}
        self._order: list[str] = []
        self._position = 0
        self._unasked: set[str] = set()
        self._attempts: set[str] | None = None
        self.asked: list[str] = []
        """Keys in the order in which they were looked up."""

    def add(self, entries: Iterable[dict[str, Any]]) -> None:
        """Take a chunk of the journal."""
        for entry in entries:
            record = Record(
                entry["key"], entry["label"], entry["status"], entry["at"], entry.get("mark", 0),
                entry.get("attempt", 0), entry.get("value"), entry.get("error"),
                entry.get("started", 0.0),
            )  # fmt: skip
            self._records[record.key] = record

    def seal(self) -> int:
        """Order the deliveries; return the number of the last one."""
        marked = sorted((record for record in self._records.values() if record.mark), key=lambda r: r.mark)
        self._order = [record.key for record in marked]
        self._unasked = {key for key in self._records if "@" not in key and "!" not in key}
        return marked[-1].mark if marked else 0

    def find(self, key: str, label: str, line: int) -> Record | None:
        """Return what is recorded at `key`.

        Raises:
            NonDeterminismError: it is another call.
        """
        record = self._records.get(key)
        if record is not None and record.label != label:
            raise NonDeterminismError(key, record.label, label, line)
        self._unasked.discard(key)
        self.asked.append(key)
        return record

    def get(self, key: str) -> Record | None:
        """Return what is recorded at `key`, whatever it is."""
        return self._records.get(key)

    def has_within(self, path: str) -> bool:
        """Whether anything is recorded of what the attempt at `path` did."""
        if self._attempts is None:
            self._attempts = {key[: found.end()] for key in self._records for found in _ATTEMPT.finditer(key)}
        return path in self._attempts

    @property
    def repeating(self) -> bool:
        """Whether the body is still on the way to where an earlier attempt was: what it prints was printed then."""
        return bool(self._unasked)

    @property
    def next_key(self) -> str | None:
        """The key whose outcome the body must get next; None when all are delivered."""
        return self._order[self._position] if self._position < len(self._order) else None

    @property
    def delivered(self) -> int:
        """How many of the recorded deliveries were made."""
        return self._position

    def undelivered(self) -> list[str]:
        """Return the keys that were asked for and whose outcome was not delivered in its recorded place."""
        return sorted(set(self.asked).difference(self._order[: self._position]))

    def advance(self) -> None:
        """The outcome of `next_key` was delivered."""
        self._position += 1
