"""What an attempt of a step read of the real world, so that an interrupted one runs again to the same calls.

The seed of its numbers and its readings of the time of day are sent to the host before the first frame that could
depend on them leaves: without one, nothing outside has seen them. The host keeps them until the attempt is over.
"""

import threading
from collections.abc import Callable

from stepwell.sdk.scope import Scope
from stepwell_sandbox.guest import real
from stepwell_sandbox.guest.channel import Channel
from stepwell_sandbox.guest.replay import Replay
from stepwell_sandbox.guest.streams import BodyStream, Stream

MAX_READINGS = 1000
"""Of the time of day, in one attempt with all that runs inside it; later ones are not recorded."""


class _Attempt:
    """The outermost attempt of a step, with all that runs inside it."""

    def __init__(self, path: str, recorded_seed: str) -> None:
        self.path = path
        self.lock = threading.Lock()
        self.unsent: dict[str, list[int]] = {}
        """Readings by the path of the scope that made them."""
        self._seed_unsent = False
        self._count = 0
        self._seed = recorded_seed

    def seed(self) -> str:
        """Return the secret behind its numbers."""
        with self.lock:
            if not self._seed:
                self._seed = real.urandom(32).hex()
                self._seed_unsent = True
            return self._seed

    def take_seed(self) -> str:
        """Return the seed if it is to be sent, else nothing; the lock is held."""
        unsent, self._seed_unsent = self._seed_unsent, False
        return self._seed if unsent else ""

    def note(self, path: str, reading: int) -> None:
        """Keep a reading until it is sent."""
        with self.lock:
            if self._count < MAX_READINGS:
                self._count += 1
                self.unsent.setdefault(path, []).append(reading)


class _AttemptStream(Stream):
    """Inside an attempt: the real time of day, recorded, and the real monotonic clock."""

    def __init__(self, attempt: _Attempt, path: str, recorded: list[int]) -> None:
        super().__init__(attempt.seed, path)
        self._attempt = attempt
        self._recorded = recorded
        self._position = 0

    def wall_ns(self) -> int:
        """Return the time of day; where the interrupted attempt was, the one that it read."""
        if self._position < len(self._recorded):
            self._position += 1
            return self._recorded[self._position - 1] * 1000
        reading = real.now_ns() // 1000
        self._attempt.note(self.path, reading)
        return reading * 1000

    def branch(self) -> "_ThreadStream":
        """Return the stream of a thread."""
        return _ThreadStream(self._secret, self._thread_path())


class _ThreadStream(Stream):
    """A thread of its own inside an attempt: it makes no calls, and its clock is not recorded."""

    def wall_ns(self) -> int:
        """Return the real time of day."""
        return real.now_ns()

    def branch(self) -> "_ThreadStream":
        """Return the stream of another one."""
        return _ThreadStream(self._secret, self._thread_path())


class Readings:
    """Implements `streams.World` for one run."""

    def __init__(
        self, channel: Channel, replay: Replay, seed: str, created_at: float, clock: Callable[[], float]
    ) -> None:
        self.created_ns = round(created_at * 1e6) * 1000
        self.clock = clock
        self._seed = seed
        self._channel = channel
        self._replay = replay
        self._attempts: dict[str, _Attempt] = {}
        self._sent: dict[str, int] = {}
        self._lock = threading.Lock()

    def seed(self) -> str:
        """Return the run's seed."""
        return self._seed

    def open(self, scope: Scope) -> Stream:
        """Return the stream of a scope."""
        if scope.ordered:
            return BodyStream(self, scope.path)
        with self._lock:
            origin = scope.origin or scope.path
            attempt = self._attempts.get(origin)
            if attempt is None:
                record = self._replay.get(f"{origin}!seed")
                attempt = self._attempts[origin] = _Attempt(origin, "" if record is None else record.value["seed"])
            return _AttemptStream(attempt, scope.path, self._recorded(scope.path))

    def flush(self, scope: Scope | None) -> None:
        """Send what was read in the attempt around `scope`, before something is sent that may depend on it."""
        attempt = None if scope is None or scope.ordered else self._attempts.get(scope.origin or scope.path)
        if attempt is None:
            return
        with attempt.lock:
            if seed := attempt.take_seed():
                self._send(f"{attempt.path}!seed", seed, [])
            for path, times in attempt.unsent.items():
                n = self._sent[path] = self._sent.get(path, 0) + 1
                self._send(f"{path}!readings{n}", "", times)
            attempt.unsent = {}

    def end(self, path: str) -> None:
        """The attempt at `path` is over and will be recorded: what it read is of no use any more."""
        if not self._attempts:
            return
        with self._lock:
            self._attempts.pop(path, None)
            self._sent = {p: n for p, n in self._sent.items() if not p.startswith(path)}
            for attempt in self._attempts.values():
                with attempt.lock:
                    attempt.unsent = {p: times for p, times in attempt.unsent.items() if not p.startswith(path)}

    def _send(self, key: str, seed: str, times: list[int]) -> None:
        self._channel.send({"t": "readings", "key": key, "seed": seed, "times": times})

    def _recorded(self, path: str) -> list[int]:
        found: list[int] = []
        n = self._sent.get(path, 0)
        while (record := self._replay.get(f"{path}!readings{n + 1}")) is not None:
            found += record.value["times"]
            n += 1
        self._sent[path] = n
        return found
