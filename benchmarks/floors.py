"""What this machine can do at all: one durable commit, one message to a process and back, one process."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from figures import Figures, median

from stepwell.ports import Limits
from stepwell_sandbox.open import open_sandbox

TOPIC = "floor"
FSYNC, COMMIT, ROUND_TRIP = "one fsync of a page", "one durable commit", "one JSON message to a process and back"
PYTHON, CONFINED = "one python with a workflow's imports", "one confined process, made and removed"
IMPORTS = (
    "import asyncio, json, typing, datetime, re, dataclasses, collections, random, decimal, uuid, hashlib, logging"
)
ECHO = "import os, sys\nfd = int(sys.argv[1])\nwhile data := os.read(fd, 65536):\n    os.write(fd, data)\n"
MESSAGE = json.dumps({"t": "step", "key": "s#1", "name": "s", "attempt": 1, "value": 1}).encode()


def measure_floors(figures: Figures, folder: Path) -> None:
    """Measure what needs no Stepwell."""
    figures.add(TOPIC, FSYNC, fsync_ms(folder), "ms")
    figures.add(TOPIC, COMMIT, commit_ms(folder), "ms")
    figures.add(TOPIC, ROUND_TRIP, round_trip_ms(), "ms")
    figures.add(
        TOPIC, PYTHON, timed(lambda: subprocess.run([sys.executable, "-IS", "-c", IMPORTS], check=True), 9), "ms"
    )


async def measure_processes(figures: Figures, count: int) -> None:
    """Measure a confined process with nothing in it: what isolation costs a run."""
    async with open_sandbox(minimum="B", pool=0, limits=Limits()) as sandbox:
        await (await sandbox.open(Limits())).close()
        began = time.perf_counter()
        for _ in range(count):
            await (await sandbox.open(Limits())).close()
        figures.add(TOPIC, CONFINED, (time.perf_counter() - began) * 1000 / count, "ms")


def timed(work: Callable[[], object], count: int) -> float:
    """Return the median milliseconds of a repetition, in the best third of them: other work comes and goes."""
    thirds: list[float] = []
    for _ in range(3):
        times: list[float] = []
        for _ in range(count // 3):
            began = time.perf_counter()
            work()
            times.append((time.perf_counter() - began) * 1000)
        thirds.append(median(times))
    return min(thirds)


def fsync_ms(folder: Path) -> float:
    """Return the time of writing one page over an old one and syncing it."""
    fd = os.open(folder / "page", os.O_RDWR | os.O_CREAT)
    try:
        os.pwrite(fd, b"\1" * 4096 * 64, 0)
        os.fsync(fd)
        return timed(lambda: (os.pwrite(fd, b"\2" * 4096, 4096), os.fdatasync(fd)), 300)
    finally:
        os.close(fd)


def commit_ms(folder: Path) -> float:
    """Return the time of one insert in WAL mode with `synchronous = FULL`."""
    connection = sqlite3.connect(folder / "floor.db", isolation_level=None)
    connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (x)")
    try:
        return timed(lambda: connection.execute("INSERT INTO t VALUES (1)"), 500)
    finally:
        connection.close()


def round_trip_ms() -> float:
    """Return the time of one message over a socket pair, answered by another python."""
    ours, theirs = socket.socketpair()
    with ours, subprocess.Popen([sys.executable, "-IS", "-c", ECHO, str(theirs.fileno())], pass_fds=[theirs.fileno()]):
        theirs.close()

        def once() -> None:
            ours.sendall(MESSAGE)
            json.loads(ours.recv(65536))

        once()
        spent = timed(once, 2000)
        ours.shutdown(socket.SHUT_RDWR)
        return spent
