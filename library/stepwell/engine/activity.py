"""Whether a live run works or only waits: what counts as its work, and when it can do without its process."""

import time

from stepwell.engine.agents import Agents
from stepwell.engine.pausing import children_rest, pause_of
from stepwell.engine.services import RunControl
from stepwell.engine.verdict import End
from stepwell.engine.waiting import Waiting
from stepwell.engine.work_clock import WorkClock
from stepwell.store.runs import RunRow


class Activity:
    """The open calls of a guest beside what they wait for."""

    def __init__(self, run: RunRow, runs: RunControl, waits: Waiting, agents: Agents, clock: WorkClock) -> None:
        self._run_id = run.id
        self._runs = runs
        self._waits = waits
        self._agents = agents
        self._clock = clock
        self._open = waits.book.under_way
        self._answered = 0
        self.idle = False
        """Whether the guest has said that nothing runs in it, and has not been answered since."""
        self.children: dict[str, str] = {}
        """The status of each child that is waited for, as it was known last."""

    def end_call(self, key: str) -> None:
        """A call gets its outcome: the guest goes on."""
        self._open.discard(key)
        self._answered += 1
        self.idle = False
        self.count()

    def rest(self, answered: int) -> bool:
        """The guest says that nothing runs in it, after so many answers; whether that is news."""
        # One that waits for nothing would stop its clock.
        was, self.idle = self.idle, answered == self._answered and bool(self._open)
        return not (was and self.idle)

    def count(self) -> None:
        """Let the clock of the run's work go, or stand."""
        # A guest that waits for a tool works; one that waits for a person, timer, event, child or model does not.
        working = len(self._open) + self._agents.besides - self._agents.asking
        self._clock.turn(on=not self.idle or len(self._waits.open) < working)

    def pause(self) -> End | None:
        """Return the pause that the run can make now: its guest waits, and only for what needs no process."""
        waiting = self._waits.open
        missing = len(self._open) + self._agents.besides - len(waiting)
        if not self.idle or not waiting or missing > 0 or self._waits.held or self._waits.keeps_dropped():
            return None
        pause = pause_of(waiting, time.time())
        if pause is not None and not children_rest(waiting, self.children):
            self._runs.yield_slot(self._run_id)
            if not self._runs.is_crowded() or "pending" not in self.children.values():
                return None
        return pause
