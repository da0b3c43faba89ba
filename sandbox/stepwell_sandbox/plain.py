"""Level `none`: one plain process per run, for machines where nothing better exists and the operator said so."""

import asyncio
import itertools
import json
import socket
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from stepwell.errors import SandboxUnavailable
from stepwell.ports.limits import Limits
from stepwell_sandbox.channel import Channel
from stepwell_sandbox.interpreter import ENVIRONMENT, OPTIONS
from stepwell_sandbox.link import READY_S, Machine, kernel_limits
from stepwell_sandbox.process import ConfinedProcess, Reaped
from stepwell_sandbox.scratch import remove_tree
from stepwell_sandbox.starter import Ended, Program, Starter

NAME = "none"
_IMPORT_GUEST = (
    "import sys; sys.path.append(sys.argv[1]); from stepwell_sandbox.plain_guest import main; "
    "main(sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5])"
)


class PlainProcess:
    """Implements `process.Body` for a process that was started on its own."""

    def __init__(self, starter: Starter, scratch: Path) -> None:
        self.ended: asyncio.Future[Reaped] = asyncio.get_running_loop().create_future()
        self.said = ""
        """What it wrote to its standard error, once it has ended."""
        self._starter = starter
        self._scratch = scratch
        self._limit: str | None = None
        starter.ended.add_done_callback(self._finish)

    def _finish(self, future: asyncio.Future[Ended]) -> None:
        ended = future.result()
        self.said = self._starter.said()
        if not self.ended.done():
            self.ended.set_result(Reaped(ended.status, ended.cpu_s, ended.max_rss_bytes, self._limit))

    def stop_at(self, limit: str) -> None:
        """Kill it because it crossed a limit."""
        self._limit = limit
        self._starter.kill()

    @property
    def shared_bytes(self) -> int:
        """It shares nothing."""
        return 0

    def resident_bytes(self) -> int:
        """Return 0: what it uses is known at its end only."""
        return 0

    def kill(self) -> None:
        """Kill its process group."""
        self._starter.kill()

    async def clean(self) -> None:
        """Remove its scratch directory."""
        await asyncio.to_thread(remove_tree, self._scratch)


class PlainStart:
    """Starts plain processes; stands where a zygote's link stands."""

    def __init__(self, machine: Machine, level: str = NAME) -> None:
        self.level = level
        self.lost = asyncio.Event()
        self.spawned = 0
        self.machine = machine
        self._numbers = itertools.count(1)
        self._bodies: dict[int, PlainProcess] = {}

    @property
    def children(self) -> int:
        """How many of its processes live."""
        return len(self._bodies)

    async def spawn(self, limits: Limits, on_violation: Callable[[], None], _entry: str = "") -> ConfinedProcess:
        """Return a new process that is ready.

        Raises:
            SandboxUnavailable: it could not be started.
        """
        return await self.spawn_entry(limits, on_violation, self.machine.guest_entry)

    async def spawn_entry(self, limits: Limits, on_violation: Callable[[], None], entry: str) -> ConfinedProcess:
        """Return a new process that is ready and runs `module:function`.

        Raises:
            SandboxUnavailable: it could not be started.
        """
        number = next(self._numbers)
        scratch = self.machine.folder.runs / str(number)
        channel = Channel(limits)
        ours, theirs = socket.socketpair()
        with theirs:
            await channel.open(ours)
            scratch.mkdir(0o700)  # here and not in a thread, which would go on when whoever waits for it is gone
            python = self._python(entry, limits, theirs.fileno())
            program = Program(self.command(python, scratch), ENVIRONMENT, folder=str(scratch))
            starter = Starter(program, theirs.fileno())
            body = PlainProcess(starter, scratch)
            self._bodies[number] = body
            body.ended.add_done_callback(lambda _: self._bodies.pop(number, None))
            process = ConfinedProcess(self.level, limits, channel, body, on_violation)
            try:
                await starter.started
            except OSError as error:
                await process.close()
                raise SandboxUnavailable(f"a process could not be started: {error}") from error
            except BaseException:
                await process.close()  # while its end of the channel is open: its thread may not have started it yet
                raise
            self.attend(body, starter.pid, scratch, limits)
        try:
            async with asyncio.timeout(READY_S):
                await process.become_ready()
        except TimeoutError as error:
            await process.close()
            raise SandboxUnavailable(f"a process was not ready within {READY_S:g} s") from error
        except SandboxUnavailable as error:
            await process.close()
            raise SandboxUnavailable(self.explain(error.message, body.said), hint=error.hint) from error
        except BaseException:
            await process.close()
            raise
        return process

    async def close(self) -> None:
        """Kill all processes and wait for their end."""
        bodies = list(self._bodies.values())
        for body in bodies:
            body.kill()
        if bodies:
            await asyncio.wait([body.ended for body in bodies], timeout=READY_S)

    def command(self, python: tuple[str, ...], scratch: Path) -> tuple[str, ...]:
        """Return what starts an interpreter; at level `none` that is itself."""
        return python

    def explain(self, message: str, said: str) -> str:
        """Return why a process did not start, from the error and from what it wrote."""
        return f"{message}: {said}" if said else message

    def attend(self, body: PlainProcess, pid: int, scratch: Path, limits: Limits) -> None:
        """Do what a process needs while it lives; at level `none` nothing."""

    def _python(self, entry: str, limits: Limits, fd: int) -> tuple[str, ...]:
        packages = "" if self.machine.packages is None else str(self.machine.packages)
        told = (str(self.machine.folder.code), entry, str(fd), json.dumps(asdict(kernel_limits(limits))), packages)
        return (self.machine.interpreter.executable, *OPTIONS, "-c", _IMPORT_GUEST, *told)
