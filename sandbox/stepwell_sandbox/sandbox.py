"""The sandbox of a server: a level, a zygote, and guests kept ready."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from stepwell.errors import PackagesUnavailable, SandboxUnavailable, StepwellError
from stepwell.ports.limits import Limits
from stepwell_sandbox import mend
from stepwell_sandbox.environments import EnvironmentSandboxes
from stepwell_sandbox.interpreter import find_interpreter, readable_by_others
from stepwell_sandbox.launch import drops_root
from stepwell_sandbox.levels import Found, choose, start_again
from stepwell_sandbox.link import GUEST, GUEST_ENTRY, KEPT, Link, Machine, kernel_limits
from stepwell_sandbox.plain import PlainStart
from stepwell_sandbox.process import ConfinedProcess, DiedEarly
from stepwell_sandbox.report import Report
from stepwell_sandbox.scratch import Folder

ZYGOTE_SPAWNS = 2000
"""Children of one zygote share their address space layout, so it is replaced now and then."""

ENVIRONMENT_POOL = 1
"""Processes kept ready for each environment of packages that is in use."""
SPAWN_ATTEMPTS = 5
SETTLE_S = 0.02
"""After the opening: what is asked first is answered before files are copied. Who needs a process does not wait."""


class ConfinedSandbox:
    """Implements `stepwell.ports.sandbox.Sandbox`.

    Starts in the background when it is entered; one that keeps no process ready starts with the first that is opened.
    """

    def __init__(
        self,
        *,
        minimum: str = "B",
        pool: int = 2,
        scratch_root: Path | None = None,
        limits: Limits | None = None,
        guest_entry: str = GUEST_ENTRY,
        guest_code: tuple[Path, ...] = (),
        base: tuple[Machine, Found] | None = None,
    ) -> None:
        """With `base`, it is one more of a sandbox that is there: of the same level, in the same folder."""
        self._minimum = minimum
        self._pool_size = pool
        self._scratch_root = scratch_root
        self._limits = limits or Limits()
        self._guest_entry = guest_entry
        self._guest_code = guest_code
        self._base = base
        self._machine: Machine | None = base[0] if base else None
        self._making: asyncio.Task[Machine] | None = None
        self._found: Found | None = base[1] if base else None
        self._environments = EnvironmentSandboxes(self._start_environment)
        self._link: Link | PlainStart | None = None
        self._retired: list[Link | PlainStart] = []
        self._idle: list[ConfinedProcess] = []
        self._discarded: list[ConfinedProcess] = []
        self._opening = 0
        """How many processes are made because none was ready."""
        self._starting = asyncio.Lock()
        self._refill = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False

    async def __aenter__(self) -> "ConfinedSandbox":
        if self._pool_size:
            self._refill.set()
        # Not a task group: one around the caller's block would wrap the caller's exceptions.
        self._keeper = asyncio.create_task(self._keep(), name="stepwell-sandbox-pool")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._environments.close()
        self._closed = True
        if self._keeper:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        await asyncio.gather(*(process.close() for process in (*self._idle, *self._discarded)))
        async with self._starting:
            for link in (*self._retired, *([self._link] if self._link else [])):
                await link.close()
            self._link = None
        if self._making:
            await asyncio.wait([self._making])
            if self._making.exception() is None:
                await asyncio.to_thread(self._making.result().folder.remove)

    @property
    def level(self) -> str:
        """The level of new processes; empty until the first start is over."""
        return self._found.report.level if self._found else ""

    @property
    def kept(self) -> int:
        """How many processes are ready before they are needed."""
        return len(self._idle)

    @property
    def kept_environments(self) -> int:
        """How many environments of packages have a zygote."""
        return len(self._environments)

    @property
    def children(self) -> int:
        """How many processes of it live, without those that wait for a run."""
        links = (*self._retired, *([self._link] if self._link else []))
        return sum(link.children for link in links) - len(self._idle)

    async def report(self) -> Report:
        """Return what this machine can isolate, after the first start.

        Raises:
            SandboxUnavailable: it isolates less than was asked for.
        """
        await self._ready_link()
        assert self._found is not None  # set by the start
        return self._found.report

    async def open(self, limits: Limits, packages: Path | None = None) -> ConfinedProcess:
        """Return a confined process that has sent `Ready`; it can import from the folder `packages`.

        Raises:
            SandboxUnavailable: no process can be confined at the level asked for.
            PackagesUnavailable: at that level no packages can be loaded.
        """
        if packages is not None:
            return await self._environments.open(packages, limits)
        while self._idle:
            process = self._idle.pop()
            if not process.alive:
                self._discard(process)
                continue
            if kernel_limits(limits) != kernel_limits(self._limits):
                self._idle.append(process)
                break
            self._refill.set()
            process.adopt(limits)
            return process
        self._opening += 1
        try:
            return await self._spawn(limits)
        finally:
            self._opening -= 1
            self._refill.set()

    async def _start_environment(self, packages: Path) -> "ConfinedSandbox":
        await self._ready_link()
        assert self._machine is not None  # set by the start
        assert self._found is not None
        machine, level = self._machine, self._found.level
        if level is not None and not level.paths:
            raise PackagesUnavailable(
                f"at level {level.name} a workflow has no files, so it cannot load packages",
                hint="Run `stepwell doctor`: it says what gives this machine a stronger level.",
            )
        if level is not None and drops_root(machine.interpreter, machine.folder) and not readable_by_others(packages):
            packages = await asyncio.to_thread(machine.folder.share, packages)
        pool = min(self._pool_size, ENVIRONMENT_POOL)
        base = replace(machine, packages=packages), self._found
        return await ConfinedSandbox(pool=pool, limits=self._limits, base=base).__aenter__()

    async def _spawn(self, limits: Limits, entry: str = GUEST) -> ConfinedProcess:
        """Return a new process of the zygote that is current when it is ready."""
        failed: SandboxUnavailable | None = None
        for _ in range(SPAWN_ATTEMPTS):
            link = await self._ready_link()
            try:
                process = await link.spawn(limits, self._retirement(link), entry)
            except SandboxUnavailable as error:
                if not link.lost.is_set() and not isinstance(error, DiedEarly):
                    raise
                failed = error
                continue
            if link is self._link:
                return process
            self._discard(process)
        raise SandboxUnavailable(
            f"processes die as fast as they are started{f': {failed.message}' if failed else ''}",
            hint="Run `stepwell doctor`.",
        )

    async def _ready_link(self) -> Link | PlainStart:
        """Return the zygote, starting one if there is none that lives."""
        async with self._starting:
            if self._closed:
                raise SandboxUnavailable("the sandbox is closed")
            if self._link and (self._link.lost.is_set() or self._link.spawned >= ZYGOTE_SPAWNS):
                self._retire(self._link)
            await self._close_retired()
            if self._link is None:
                self._link = await self._start()
            return self._link

    async def _start(self) -> Link | PlainStart:
        if sys.platform == "win32":
            raise SandboxUnavailable("this system cannot isolate workflows", hint=mend.leave_system(sys.platform))
        machine = self._machine
        if machine is None:
            # A thread goes on when whoever waits for it is cancelled, and what it makes must not stay.
            if self._making is None or self._making.done():
                self._making = asyncio.create_task(self._make_machine())
            self._machine = machine = await asyncio.shield(self._making)
        if self._found is None:
            self._found, link = await choose(self._minimum, machine)
            return link
        return await start_again(self._found, machine)

    async def _make_machine(self) -> Machine:
        interpreter = await asyncio.to_thread(find_interpreter)
        try:
            folder = await asyncio.to_thread(Folder, self._scratch_root, self._guest_code)
        except OSError as error:
            raise SandboxUnavailable(
                f"the sandbox has no folder: {error}",
                hint="Set scratch_root to a folder this user can write to.",
            ) from error
        return Machine(interpreter, folder, self._guest_entry, scratch_bytes=self._limits.scratch_bytes)

    def _retirement(self, link: Link | PlainStart) -> Callable[[], None]:
        """Return what to do when a guest of `link` breaks the protocol: it may know the layout of its siblings."""
        return lambda: self._retire(link)

    def _retire(self, link: Link | PlainStart) -> None:
        if self._link is not link:
            return
        self._link = None
        self._retired.append(link)
        self._refill.set()
        while self._idle:
            self._discard(self._idle.pop())

    def _discard(self, process: ConfinedProcess) -> None:
        """Kill a process that no run gets; the keeper removes what it leaves."""
        process.kill()
        self._discarded.append(process)
        self._refill.set()

    async def _close_retired(self) -> None:
        over = [link for link in self._retired if link.lost.is_set() or not link.children]
        for link in over:
            self._retired.remove(link)
            await link.close()

    async def _keep(self) -> None:
        """Keep the pool full; a failure is left for the next `open` to meet."""
        await asyncio.sleep(SETTLE_S)
        while True:
            await self._refill.wait()
            self._refill.clear()
            try:
                while self._discarded:
                    await self._discarded.pop().close()
                # In a burst each would be taken at once, and to rehearse first costs more than it saves.
                while len(self._idle) < self._pool_size and not self._opening:
                    self._idle.append(await self._spawn(self._limits, KEPT if self._base is None else GUEST))
                await self._ready_link()
            except (StepwellError, OSError):
                continue
