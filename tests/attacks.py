"""The corpus of attacks on the sandbox: what they are, how they are run, and what counts as stopped.

Most attacks run beside each other on one zygote, as runs do. What they did outside is looked for when all are over;
only if something is found are they run again one by one, to name the one that did it.
"""

import asyncio
import json
import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from attack_world import World
from confined import Ran, drive
from stepwell.errors import RunError
from stepwell.model.text import clean_text
from stepwell.ports.frames import Call, Outcome
from stepwell.ports.limits import Limits
from stepwell_sandbox.confine import libc, policy
from stepwell_sandbox.confine.syscalls import NUMBERS
from stepwell_sandbox.link import Link

FOLDER = Path(__file__).parent / "sandbox" / "escapes"
LIMITS = Limits(cpu_s=1, total_bytes=32 << 20, output_bytes=64 << 10)
WALL_S, LONG_WALL_S = 3.0, 20.0
"""The first for attacks that may end by it, the second, never met on a machine that works, for all others."""
ENDED_BY_WALL = ("resource", "crash", "process")
"""Categories."""
AT_ONCE = 8
GROWTH = 300 << 20
"""Bytes by which the host may grow."""
LOSSES = {
    "A": set[str](),
    "A2": {"iso_threads_of_others"},
    "B": {
        "fs_stat_metadata", "fs_proc_enumerate",  # that a file or a process exists, and its size and times
        "fs_deleted_but_open",
        "info_what_the_host_is",  # its name
        "iso_threads_of_others",  # the kernel counts all runs together
    },
    "C": {"py_import_site_packages_c_ext", "info_what_the_host_is", "iso_threads_of_others"},  # the first needs files
}  # fmt: skip
"""What each level does not stop, as docs/isolation.md says it."""
VICTIM = """
import threading, time
def run(secret, who, seconds):
    try:
        open("victim_file.txt", "w").write(secret)
    except OSError:
        pass
    end = time.time() + seconds
    while time.time() < end:
        assert tools.call("whoami") == who
        threading.Thread(target=int).start()
        time.sleep(0.02)
    return tools.call("whoami")
"""


class Attack(msgspec.Struct, frozen=True):
    """One entry of the index."""

    name: str
    category: str
    check: str | None
    flags: list[str]

    @property
    def source(self) -> str:
        own = (FOLDER / f"{self.name}.py.txt").read_text()
        return (FOLDER / "prelude.py.txt").read_text() + own if "prelude" in self.flags else own

    @property
    def wall_s(self) -> float:
        killed = "kill" in (self.check or "") or self.category.startswith(ENDED_BY_WALL)
        return WALL_S if killed else LONG_WALL_S

    @property
    def alone(self) -> bool:
        """It is judged by what happens to the host or to a run beside it."""
        return bool({"with-victim-run", "alone"} & set(self.flags)) or "parent-mem" in (self.check or "")


ATTACKS = msgspec.json.decode((FOLDER / "index.json").read_bytes(), type=list[Attack])


@dataclass
class Trial:
    """All attacks at one level."""

    level: str
    stopped: list[str] = field(default_factory=list[str])
    failures: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    skipped: list[str] = field(default_factory=list[str])
    longest_stall_s: float = 0.0

    @property
    def escapes(self) -> dict[str, list[str]]:
        """What was not stopped and is not said to be lost at this level."""
        return {name: why for name, why in self.failures.items() if name not in LOSSES[self.level]}

    @property
    def losses(self) -> list[str]:
        return sorted(set(self.failures) & LOSSES[self.level])


class Attacker:
    """Runs attacks on one zygote."""

    def __init__(self, link: Link, world: World) -> None:
        self.link = link
        self.world = world
        self.inputs: dict[str, Any] = world.inputs | {
            "refused_calls": refused_calls(), "paths": link.level.paths,
        }  # fmt: skip
        self.trial = Trial(link.level.name)
        self._most_bytes = 0

    async def run_all(self, attacks: Sequence[Attack] = ATTACKS) -> Trial:
        watch = asyncio.create_task(self._watch_the_loop())
        harmful = [a for a in attacks if "harmful-to-root" in a.flags and os.getuid() == 0]
        self.trial.skipped = [attack.name for attack in harmful]
        together = [a for a in attacks if a not in harmful and not a.alone]
        await self._run_batch(sorted(together, key=lambda attack: not attack.category.startswith("resource")))
        for attack in attacks:
            if attack.alone and attack not in harmful:
                self._note(attack, await self._run_alone(attack))
        watch.cancel()
        return self.trial

    async def _run_batch(self, attacks: list[Attack]) -> None:
        """Run attacks beside each other, the long ones first."""
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(attack: Attack) -> list[str]:
            async with turn:
                return await self._run_one(attack)

        async with asyncio.TaskGroup() as tasks:
            started = [tasks.create_task(one(attack)) for attack in attacks]
        damage = self.world.damage() + await self._health()
        for attack, task in zip(attacks, started, strict=True):
            # Beside others, an attack can fail for want of time or memory: only what it does alone counts.
            self._note(attack, await self._run_alone(attack) if damage or task.result() else [])

    async def _run_alone(self, attack: Attack) -> list[str]:
        before = self._most_bytes = resident_bytes()
        wrong: list[str] = []
        async with asyncio.TaskGroup() as tasks:
            beside = None
            if "with-victim-run" in attack.flags:
                told: dict[str, Any] = {"secret": self.world.inputs["runs_secret"], "who": "victim", "seconds": 1.0}
                beside = tasks.create_task(self.attack(VICTIM, "victim", **told))
            wrong += await self._run_one(attack)
        if beside and beside.result()[0].value != "victim":
            wrong.append("another run was disturbed")
        if (grown := self._most_bytes - before) > GROWTH:
            wrong.append(f"the host grew by {grown >> 20} MiB")
        return wrong + self.world.damage() + await self._health()

    async def _run_one(self, attack: Attack) -> list[str]:
        ran, late = await self.attack(attack.source, attack.name, attack.wall_s, **self.inputs)
        if "two-phase" in attack.flags:
            first = [f"escaped: {ran.value}"] if is_escape(ran.value) else []
            ran, late = await self.attack(attack.source, attack.name, **(self.inputs | {"phase": 2}))
            return first + judge(attack, ran, late=late)
        return judge(attack, ran, late=late)

    async def attack(self, source: str, name: str, wall_s: float = LONG_WALL_S, **inputs: Any) -> tuple[Ran, bool]:
        """Return what came of a run and whether its time was over."""
        process = await self.link.spawn(LIMITS, lambda: None)

        async def answer(call: Call) -> Outcome:
            if call.name == "never":
                await asyncio.Event().wait()  # until the run is over
            if call.name == "danger" and not process.alive:
                self.world.dangers.append(name)
            values: dict[str, object] = {"whoami": name, "big": "B" * (1 << 20), "echo": None, "danger": None}
            return Outcome(call.id, 0.0, value=msgspec.Raw(msgspec.json.encode(values.get(call.name))))

        try:
            async with asyncio.timeout(wall_s):
                return await drive(process, source, answer, **inputs), False
        except TimeoutError:
            return Ran(exit=await process.close()), True

    async def _health(self) -> list[str]:
        healthy, _ = await self.attack("def run(): return 'pong'", "ping")
        return [] if healthy.value == "pong" else ["the sandbox does not serve any more"]

    def _note(self, attack: Attack, wrong: list[str]) -> None:
        if wrong:
            self.trial.failures[attack.name] = wrong
        else:
            self.trial.stopped.append(attack.name)

    async def _watch_the_loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.02)
            self._most_bytes = max(self._most_bytes, resident_bytes())
            self.trial.longest_stall_s = max(self.trial.longest_stall_s, loop.time() - before - 0.02)


def refused_calls() -> list[int]:
    """Return the numbers that no part of the policy names."""
    rules = policy.rules_for(libc.MACHINE, paths=True, metadata=True, landlock_abi=7, exec_files=True)
    harmless = NUMBERS[libc.MACHINE]
    ending = {harmless["exit"], harmless["exit_group"], harmless["rt_sigreturn"]}
    return [number for number in range(520) if number not in rules and number not in ending]


def is_escape(value: Any) -> bool:
    return isinstance(value, dict) and value.get("escaped") is True  # pyright: ignore[reportUnknownMemberType]


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def judge(attack: Attack, ran: Ran, *, late: bool) -> list[str]:  # noqa: C901 - a table
    """Return what is wrong with the way a run ended."""
    killed = late or (ran.exit is not None and ran.value is None and ran.error is None and ran.refusal is None)
    wrong: list[str] = []
    if is_escape(ran.value):
        wrong.append(f"escaped: {ran.value}")
    for check in (attack.check or "").split("+"):
        match check:
            case "killed" if not killed:
                wrong.append("not killed")
            case "killed-or-error" if not killed and ran.error is None:
                wrong.append("neither killed nor failed")
            case "violation" if not isinstance(ran.refusal, RunError):
                wrong.append("not refused")
            case "noresult" if ran.value is not None:
                wrong.append("its result was taken")
            case "json-safe":
                json.dumps(ran.value, allow_nan=False, ensure_ascii=False).encode()
            case "log-cap" if len(ran.printed) > LIMITS.output_bytes + 200:
                wrong.append("output over its limit")
            case "log-clean" if clean_text(ran.printed) != ran.printed:
                wrong.append("harmful characters in output")
            case "detail-clean" if ran.error and clean_text(ran.error.error.message) != ran.error.error.message:
                wrong.append("harmful characters in an error")
            case "positive" if not isinstance(ran.value, dict) or ran.value["escaped"]:
                wrong.append(f"what is allowed does not work: {ran.error or ran.refusal or ran.value or ran.exit}")
            case _:
                pass
    return wrong
