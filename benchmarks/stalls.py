"""How long the event loop of a host is held up while its guests attack it."""

import asyncio
import selectors
import time
from pathlib import Path
from typing import Any

import msgspec
from figures import Figures
from floods import LONG, MANY, source

from stepwell.model import LIVE
from stepwell_server import Session
from stepwell_server.responsive import keep_responsive

TOPIC = "stalls"
GUESTS = 8  # at the same time
GOAL_MS = 50.0


def measure_stalls(figures: Figures, folder: Path, guests: int = GUESTS) -> None:
    """Measure the longest turn of the event loop under each attack. In a thread of its own, with a loop of its own."""
    loop, watch = watched_loop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(_measure(figures, folder, watch, guests))


async def _measure(figures: Figures, folder: Path, watch: "Watch", guests: int) -> None:
    async with Session(folder / "stalls") as session:
        keep_responsive()
        await session.add_workflow("victim", "def run(x): return x")
        for name, body in {**LONG, **MANY}.items():
            await attack(session, watch, name, body, guests)
            figures.at_most(TOPIC, f"the loop's longest turn, {guests} guests: {name}", watch.worked_ms, "ms", GOAL_MS)


async def attack(session: Session, watch: "Watch", name: str, body: str, guests: int) -> None:
    """Let some guests attack at the same time, watched."""
    workflow = "attack_" + name.replace(" ", "_")
    await session.add_workflow(workflow, source(body))
    watch.reset()
    runs = await asyncio.gather(*(session.start(workflow) for _ in range(guests)))
    for run in runs:
        ended = await session.app.engine.wait(run.id, 60)
        if ended.status in LIVE:
            await session.cancel(run)


class Watch(selectors.DefaultSelector):
    """Notes the longest turn of its event loop, in milliseconds of the loop's own work and of the clock."""

    worked_ms = 0.0
    took_ms = 0.0
    floors = 0.0
    """The longest in times of what a megabyte took just then: whatever slows down this machine slows down both."""
    _floor_ms = 0.0
    _began: tuple[float, float] | None = None

    def select(self, timeout: float | None = None) -> Any:
        if self._began is not None:
            worked = (time.thread_time() - self._began[0]) * 1000
            self.worked_ms = max(self.worked_ms, worked)
            self.took_ms = max(self.took_ms, (time.monotonic() - self._began[1]) * 1000)
            if worked > self.floors * self._floor_ms:
                self._floor_ms = floor_ms()
                self.floors = max(self.floors, worked / self._floor_ms)
        found = super().select(timeout)
        self._began = time.thread_time(), time.monotonic()
        return found

    def reset(self) -> None:
        self.worked_ms = self.took_ms = self.floors = self._floor_ms = 0.0
        self._began = None


def watched_loop() -> tuple[asyncio.AbstractEventLoop, Watch]:
    """Return a new event loop and what watches it."""
    watch = Watch()
    return asyncio.SelectorEventLoop(watch), watch


_MEGABYTE = b"[" + b",".join(b"%d" % (n * 7919) for n in range(120_000)) + b"]"


def floor_ms() -> float:
    """Return what one megabyte of numbers costs this machine to read and write, in milliseconds of work."""
    best = float("inf")
    for _ in range(2):
        began = time.thread_time()
        msgspec.json.encode(msgspec.json.decode(_MEGABYTE))
        best = min(best, (time.thread_time() - began) * 1000)
    return best
