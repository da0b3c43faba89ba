"""`random`, `os.urandom`, `secrets`, `uuid`: numbers of the place that asks. Threads of a workflow are places too."""

import os
import random
import tempfile
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, thread
from typing import Any

from stepwell_sandbox.guest import output, real, streams
from stepwell_sandbox.guest.streams import Stream, current

_max_threads = 64

SEED_BYTES = 64
UUID_EPOCH = 0x01B21DD213814000  # in units of 100 ns, before 1970


def replace_random() -> None:
    """Make each place draw from generators of its own."""

    def by_place(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        def draw(*args: Any, **kwargs: Any) -> Any:
            stream = current()
            return plain(*args, **kwargs) if stream is None else getattr(stream.rng, name)(*args, **kwargs)

        draw.__doc__ = plain.__doc__
        return draw

    def seed(self: random.Random, a: Any = None, version: int = 2) -> None:
        stream = current() if a is None else None
        real.seed(self, a if stream is None else int.from_bytes(stream.draw(SEED_BYTES)), version)

    def urandom(size: int, /) -> bytes:
        stream = current()
        return real.urandom(size) if stream is None else stream.draw(size)

    def getrandom(size: int, flags: int = 0) -> bytes:
        return urandom(size)

    methods: dict[str, Any] = {}
    for name in random.__all__:
        plain = getattr(random, name)
        if isinstance(getattr(plain, "__self__", None), random.Random):
            draw = by_place(name, plain)
            real.replace(random, name, draw)
            methods[name] = staticmethod(draw)
    random.Random.seed = seed
    # Some libraries take the generator behind these functions itself.
    hidden: Any = random
    hidden._inst = type("Random", (random.Random,), methods)()
    real.replace(os, "urandom", urandom)
    if hasattr(os, "getrandom"):
        real.replace(os, "getrandom", getrandom)
    # What SystemRandom, and with it `secrets`, takes its bytes from.
    hidden._urandom = urandom
    # It would keep a generator from the place of its first use.
    names: Any = tempfile
    names._RandomNameSequence.rng = property(lambda _: random)


def replace_uuid() -> None:
    """Make UUIDs of the place's time and numbers."""
    # Version 4 takes its bytes from os.urandom; these keep what they gave last, and the address of this machine.
    module: Any = uuid
    plain: dict[str, Any] = dict(module.__dict__)

    def getnode() -> int:
        stream = current()
        return plain["getnode"]() if stream is None else int.from_bytes(stream.draw(6)) | 1 << 40

    def version_1(node: int | None = None, clock_seq: int | None = None) -> uuid.UUID:
        stream = current()
        if stream is None:
            return plain["uuid1"](node, clock_seq)
        when = stream.wall_ns() // 100 + UUID_EPOCH
        sequence = int.from_bytes(stream.draw(2)) & 0x3FFF if clock_seq is None else clock_seq
        fields = (
            when & 0xFFFFFFFF, (when >> 32) & 0xFFFF, (when >> 48) & 0x0FFF,
            (sequence >> 8) & 0x3F, sequence & 0xFF, getnode() if node is None else node,
        )  # fmt: skip
        return uuid.UUID(fields=fields, version=1)

    def version_6(node: int | None = None, clock_seq: int | None = None) -> Any:
        if current() is None:
            return plain["uuid6"](node, clock_seq)
        one = version_1(node, clock_seq)
        when = one.time
        high = (when >> 12) << 80 | 6 << 76 | (when & 0xFFF) << 64
        return uuid.UUID(int=high | 2 << 62 | one.int & 0x3FFFFFFFFFFFFFFF)

    def version_7() -> Any:
        stream = current()
        if stream is None:
            return plain["uuid7"]()
        chance = int.from_bytes(stream.draw(10))
        high = (stream.wall_ns() // 10**6) << 80 | 7 << 76 | (chance >> 62 & 0xFFF) << 64
        return uuid.UUID(int=high | 2 << 62 | chance & 0x3FFFFFFFFFFFFFFF)

    real.replace(module, "getnode", getnode)
    real.replace(module, "uuid1", version_1)
    if "uuid7" in plain:
        real.replace(module, "uuid6", version_6)
        real.replace(module, "uuid7", version_7)


def bound_threads(count: int) -> None:
    """Let the workflow start no more threads than that in all."""
    global _max_threads  # noqa: PLW0603  one process runs one workflow
    _max_threads = count


def replace_threads() -> None:
    """Make a thread that the workflow starts by itself a place of its own, and each job of a pool too."""
    pool_worker: Any = vars(thread).get("_worker", thread)

    def within(stream: Stream, work: Callable[..., Any]) -> Callable[..., Any]:
        step = output.current_step()

        def run(*args: Any, **kwargs: Any) -> Any:
            token, place = streams.thread.set(stream), output.thread_step.set(step)
            try:
                return work(*args, **kwargs)
            finally:
                streams.thread.reset(token)
                output.thread_step.reset(place)

        return run

    def start(self: Any) -> None:
        if threading.active_count() >= _max_threads:
            raise RuntimeError("can't start new thread")  # as the kernel's limit makes it say, which is a rough one
        stream = current()
        # A pool starts its threads as it needs them, which depends on how fast they are.
        if stream is not None and getattr(self, "_target", None) is not pool_worker:
            self.run = within(stream.branch(), self.run)
        real.start_thread(self)

    def submit(self: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        stream = current()
        return real.submit(self, fn if stream is None else within(stream.branch(), fn), *args, **kwargs)

    threading.Thread.start = start
    ThreadPoolExecutor.submit = submit
