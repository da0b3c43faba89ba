"""Time and chance of each place in a run.

A place is a scope: the body, each of its branches, each attempt of a step. Every place draws from generators of its
own, so that what it gets follows from where it is in the program and not from what runs beside it. In the body all
follows from the run's seed and the time of the last delivery; inside an attempt it is real and recorded (`readings`).
"""

import contextvars
import hashlib
import random
from collections.abc import Callable
from typing import Protocol

from stepwell.sdk.scope import Scope, current_scope

NS = 10**9  # in a second
TICK_NS = 100
"""How far the body's clock moves each time it is read between two deliveries. A reading takes longer than that, so it
does not run ahead of the real one; and what is divided by a difference of two readings is not divided by zero."""
ZERO_NS = 100_000 * NS
"""What the body's monotonic clock shows when the run is created."""


class Stream:
    """Time and chance of one place. Numbers follow from a secret and the path of the place."""

    def __init__(self, secret: Callable[[], str], path: str) -> None:
        self.path = path
        self._secret = secret
        self._key = b""
        self._rng: random.Random | None = None
        self._blocks = 0
        self._left = b""
        self._threads = 0

    @property
    def rng(self) -> random.Random:
        """The generator behind the functions of the module `random`."""
        if self._rng is None:
            self._rng = random.Random(b"rng" + self._hash_key())  # noqa: S311  `draw` is for secrets
        return self._rng

    def draw(self, size: int) -> bytes:
        """Return the next bytes, which nobody outside of the run can guess: blocks of a keyed hash over a counter."""
        if size < 0:
            raise ValueError("negative argument not allowed")
        data = self._left
        if len(data) < size:
            key, first = self._hash_key(), self._blocks
            self._blocks += (size - len(data) + 63) // 64
            blocks = (hashlib.blake2b(n.to_bytes(8, "big"), key=key) for n in range(first, self._blocks))
            data += b"".join(block.digest() for block in blocks)
        self._left = data[size:]
        return data[:size]

    def wall_ns(self) -> int:
        """Return the time of day, in nanoseconds since 1970."""
        raise NotImplementedError

    def elapsed_ns(self) -> int | None:
        """Return the monotonic clock; None where it is the real one."""
        return None

    def branch(self) -> "Stream":
        """Return the stream of a thread that was started here, which is no scope."""
        raise NotImplementedError

    def _hash_key(self) -> bytes:
        if not self._key:
            self._key = hashlib.sha512(f"{self._secret()}\n{self.path}".encode()).digest()
        return self._key

    def _thread_path(self) -> str:
        self._threads += 1
        return f"{self.path}thread {self._threads}/"


class World(Protocol):
    """What streams are made from."""

    created_ns: int

    def seed(self) -> str:
        """Return the run's seed."""
        ...

    def clock(self) -> float:
        """Return unix seconds of the last delivery to the body."""
        ...

    def open(self, scope: Scope) -> Stream:
        """Return the stream of a scope."""
        ...


class BodyStream(Stream):
    """In the body: the clock stands at the last delivery, a tick further with each reading."""

    def __init__(self, world: World, path: str) -> None:
        super().__init__(world.seed, path)
        self._world = world
        self._base = -1.0
        self._ticks = 0

    def wall_ns(self) -> int:
        """Return the time of the last delivery and the ticks since then."""
        base = self._world.clock()
        if base != self._base:
            # The ticks begin anew: how often a loop that polls has read the clock must not show later on.
            self._base, self._ticks = base, -1
        self._ticks += 1
        return round(base * 1e6) * 1000 + self._ticks * TICK_NS

    def elapsed_ns(self) -> int | None:
        """Return the same as a clock that began when the run was created."""
        return self.wall_ns() - self._world.created_ns + ZERO_NS

    def branch(self) -> "BodyStream":
        """Return the stream of a thread."""
        return BodyStream(self._world, self._thread_path())


_world: World | None = None
thread: contextvars.ContextVar[Stream | None] = contextvars.ContextVar("stepwell_stream", default=None)
"""The stream of a thread that the workflow has started by itself."""


def begin(world: World) -> None:
    """From now on workflow code gets its time and chance from `world`."""
    global _world  # noqa: PLW0603  one process runs one workflow
    _world = world


def current() -> Stream | None:
    """Return the stream of the running code; None for the guest's own, which has what is real."""
    scope = current_scope()
    if scope is None:
        return thread.get()
    stream: Stream | None = scope.stream
    if stream is None and _world is not None:
        stream = scope.stream = _world.open(scope)
    return stream
