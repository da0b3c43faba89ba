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
MAX_KNOWN = 1000
FADE = 0.75
"""How fast a version's peak is forgotten when its runs use less."""


@dataclass(slots=True)
class _Held:
    version: str
    limit: int
    since: float
    guest: GuestProcess | None = None

    @property
    def used(self) -> int:
        return 0 if self.guest is None else self.guest.memory_bytes()


class Memory:
    """What the live runs of this process use, and may be expected to use."""

    def __init__(self, budget: int | None, limit: int, available: Callable[[], int | None]) -> None:
        """Begin with no run.

        Args:
            budget: Bytes for all of them; None for what the machine has.
            limit: Bytes that one run may use if its workflow says nothing.
            available: Returns the bytes that the machine has left; None if it cannot tell.
        """
        self.budget = budget
        self._limit = limit
        self._available = available
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
        return sum(self._counted(held, held.used) for held in self._held.values())

    def room(self) -> float:
        """Return how many bytes new runs may count with."""
        counted = growth = 0
        for held in self._held.values():
            used = held.used
            count = self._counted(held, used)
            counted += count
            growth += count - min(used, count)
        left = float("inf") if self.budget is None else self.budget - counted
        available = self._available()
        return left if available is None else min(left, available - growth - SPARE_BYTES)

    def _counted(self, held: _Held, used: int) -> int:
        peak = self._peaks.get(held.version)
        if peak is None:
            young = time.monotonic() - held.since < SETTLED_S
            peak = held.limit if young else 0
        return max(LEAST_BYTES, used, min(peak, held.limit))
