"""Kills at random: of servers, zygotes, bubblewrap and guests; and what they may leave behind."""

import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from confined import is_shared
from support.workers import Worker, Workers

EVERY = {"guest": 3, "chain": 15, "server": 40}
"""Runs that end between two kills of a kind, on the average: with more, nothing would end."""
EARLY = 0.15  # of the kills follow another at once, into whatever that has begun


class Kills:
    """Kills something now and then, for as long as it is asked to."""

    def __init__(self, home: Path, workers: Workers, rng: random.Random) -> None:
        self.done: Counter[str] = Counter()
        self._home = home
        self._workers = workers
        self._rng = rng
        self._due = {kind: self._rng.randint(1, 2 * runs) for kind, runs in EVERY.items()}

    def interrupt(self, worker: Worker, ended: int) -> Worker:
        """Kill what is due when so many runs have ended; return the worker that goes on."""
        for kind, due in self._due.items():
            if ended < due:
                continue
            early = self._rng.random() < EARLY
            self._due[kind] = ended + (0 if early else self._rng.randint(1, 2 * EVERY[kind]))
            time.sleep(self._rng.uniform(0, 0.02))
            if kind == "server":
                return self._replace(worker)
            self._kill_below(worker, guest=kind == "guest")
        return worker

    def _replace(self, worker: Worker) -> Worker:
        how = self._rng.choice(("server", "server", "server closing", "server beside another"))
        self.done[how] += 1
        if how == "server beside another":
            fresh = self._workers.open(self._home)
            worker.end()
            return fresh
        if how == "server closing":
            worker.send(signal.SIGTERM)
            time.sleep(self._rng.uniform(0, 0.05))
        worker.end()
        return self._workers.open(self._home)

    def _kill_below(self, worker: Worker, *, guest: bool) -> None:
        """Kill a guest, or one of bubblewrap, its init and the zygote, if there is any."""
        chain, guests = below(worker.pid)
        if guests and guest:
            name, pid = "guest", self._rng.choice(guests)
        elif chain and not guest:
            place = self._rng.randrange(len(chain))
            name, pid = ("bubblewrap", "its init", "zygote")[place - len(chain)], chain[place]
        else:
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.done[name] += 1


def below(pid: int) -> tuple[list[int], list[int]]:
    """Return the processes from a server down to its zygote, and the zygote's children."""
    chain: list[int] = []
    while len(found := children(pid)) == 1 and len(chain) < 3:
        pid = found[0]
        chain.append(pid)
    return chain, found


def children(pid: int) -> list[int]:
    """Return the living children of a process."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        found = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []
    return [child for child in found if _lives(child) and not is_shared(child)]


def descendants(pid: int) -> list[int]:
    """Return all living processes below one."""
    return [found for child in children(pid) for found in (child, *descendants(child))]


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def mounts() -> list[str]:
    """Return what is mounted here."""
    return Path("/proc/self/mountinfo").read_text().splitlines()


def descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))
