"""Whether another run fits into memory, so that a burst of runs queues instead of making the machine swap.

A run counts with what it uses, and with what it must be expected to use: at most as much as earlier runs of its
version did, where there were any; else all that its limit allows, until it has settled. Limits alone would let a few
runs in that use next to nothing; use alone would let in a hundred that have only begun.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from stepwell.model.sizes import MIB
from stepwell.ports import GuestProcess

LEAST_BYTES = 32 * MIB
"""What any run counts with: its interpreter, and the host's side of it."""
SPARE_BYTES = 256 * MIB
"""Of what the machine has available, left to others."""
SETTLED_S = 5.0
"""After so long a run that nothing is known of counts with what it uses."""
FRESH_S = 0.05
"""For so long what was read of the machine and of processes is used again: it takes some dozen files."""
MAX_KNOWN = 1000
FADE = 0.75
"""How fast a version's peak is forgotten when its runs use less."""


@dataclass(slots=True)
class _Held:
    version: str
    limit: int
    since: float
    guest: GuestProcess | None = None
    used: int = 0


class Memory:
    """What the live runs of this process use, and may be expected to use."""

    def __init__(
        self, budget: int | None, limit: int, available: Callable[[], int | None], fresh_s: float = FRESH_S
    ) -> None:
        """Begin with no run.

        Args:
            budget: Bytes for all of them; None for what the machine has.
            limit: Bytes that one run may use if its workflow says nothing.
            available: Returns the bytes that the machine has left; None if it cannot tell.
            fresh_s: How long that, and what processes use, is taken to be the same.
        """
        self.budget = budget
        self._limit = limit
        self._available = available
        self._left: int | None = None
        self._fresh_s = fresh_s
        self._read_at = 0.0
        self._held: dict[str, _Held] = {}
        self._peaks: dict[str, int] = {}

    def take(self, run_id: str, version: str) -> None:
        """A run has begun."""
        self._held[run_id] = _Held(version, self._limit, time.monotonic())

    def watch(self, run_id: str, guest: GuestProcess, limit: int) -> None:
        """Its process is there, and may use so much."""
        if (held := self._held.get(run_id)) is not None:
            held.guest, held.limit = guest, limit

    def learn(self, version: str, peak: int) -> None:
        """A process of that version has ended and used at most so much; 0 if nobody knows."""
        if not peak:
            return
        before = self._peaks.pop(version, 0)
        self._peaks[version] = max(peak, int(before * FADE))
        if len(self._peaks) > MAX_KNOWN:
            self._peaks.pop(next(iter(self._peaks)))

    def give_back(self, run_id: str) -> None:
        """The run has ended or is parked."""
        self._held.pop(run_id, None)

    def expected(self, version: str) -> int:
        """Return what a new run of that version counts with."""
        return max(LEAST_BYTES, min(self._limit, self._peaks.get(version, self._limit)))

    def used(self) -> int:
        """Return what the live runs count with."""
        self._read()
        return sum(self._counted(held) for held in self._held.values())

    def room(self) -> float:
        """Return how many bytes new runs may count with."""
        self._read()
        counted = growth = 0
        for held in self._held.values():
            count = self._counted(held)
            counted += count
            growth += count - min(held.used, count)
        left = float("inf") if self.budget is None else self.budget - counted
        return left if self._left is None else min(left, self._left - growth - SPARE_BYTES)

    def _read(self) -> None:
        """Read both at one time: what a process has taken since is not missing from what is left."""
        now = time.monotonic()
        if now - self._read_at >= self._fresh_s:
            self._read_at, self._left = now, self._available()
            for held in self._held.values():
                held.used = 0 if held.guest is None else held.guest.memory_bytes()

    def _counted(self, held: _Held) -> int:
        peak = self._peaks.get(held.version)
        if peak is None:
            young = time.monotonic() - held.since < SETTLED_S
            peak = held.limit if young else 0
        return max(LEAST_BYTES, held.used, min(peak, held.limit))
