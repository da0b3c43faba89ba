"""A running zygote as its host sees it."""

import asyncio
import itertools
import json
import os
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from stepwell.errors import SandboxUnavailable
from stepwell.ports.limits import Limits
from stepwell_sandbox.channel import Channel
from stepwell_sandbox.confine.plan import Plan, ProcessLimits
from stepwell_sandbox.interpreter import PRELOADED, Interpreter
from stepwell_sandbox.launch import Level, prepare
from stepwell_sandbox.memory import resident_bytes
from stepwell_sandbox.process import ConfinedProcess, DiedEarly, Reaped
from stepwell_sandbox.scratch import Folder, remove_tree
from stepwell_sandbox.starter import Starter
from stepwell_sandbox.written import Written

HELLO_S = 30.0
READY_S = 15.0
GOODBYE_S = 3.0
MAX_MESSAGE = 65536  # bytes; ours are a few hundred
OOM_SCORE = 700
"""Makes the kernel take a guest before its host when memory runs out."""
TASK_DRIFT = 512
"""Tasks of the same user, other guests' threads among them, that may start after a guest was confined: below level A
the kernel counts them with its own."""
GUEST, KEPT, PROBE = "guest", "kept", "probe"
GUEST_ENTRY = "stepwell_sandbox.guest.boot:main"
KEPT_ENTRY = "stepwell_sandbox.guest.warm:main"
"""Of guests that are made before they are needed."""
PROBE_ENTRY = "stepwell_sandbox.probes:main"
PREPARE = "stepwell_sandbox.guest.warm:prepare"
"""Called once in a zygote."""
PACKAGES = ("stepwell_sandbox.guest", "stepwell", "stepwell.sdk")


def kernel_limits(limits: Limits) -> ProcessLimits:
    """Return the part of the limits that the kernel keeps, which a process has from its start."""
    return ProcessLimits(**{field.name: getattr(limits, field.name) for field in fields(ProcessLimits)})


@dataclass(frozen=True, slots=True)
class Machine:
    """What every zygote of one sandbox is made from."""

    interpreter: Interpreter
    folder: Folder
    guest_entry: str = GUEST_ENTRY
    packages: Path | None = None
    """What its guests may import besides the standard library."""
    scratch_bytes: int = Limits().scratch_bytes
    """The most that one of its guests may have."""


class ZygoteChild:
    """Implements `process.Body` for a child of a zygote."""

    def __init__(self, scratch: str | None, shared_bytes: int) -> None:
        loop = asyncio.get_running_loop()
        self.shared_bytes = shared_bytes
        self.ended: asyncio.Future[Reaped] = loop.create_future()
        self.born: asyncio.Future[None] = loop.create_future()
        self._scratch = scratch
        self._pidfd: int | None = None
        self._doomed = False

    def begin(self, pidfd: int) -> None:
        """Take the descriptor by which it can be killed, whatever its number becomes."""
        self._pidfd = pidfd
        if self._doomed:
            self.kill()
        if not self.born.done():
            self.born.set_result(None)

    def fail(self, why: str) -> None:
        """It never came to be."""
        if not self.born.done():
            self.born.set_exception(SandboxUnavailable(f"a process could not be started: {why}"))
            self.born.exception()  # the waiter may be gone
        self.finish(Reaped(None))

    def finish(self, reaped: Reaped) -> None:
        """It has been reaped."""
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
        if not self.ended.done():
            self.ended.set_result(reaped)

    def orphan(self) -> None:
        """Its zygote died, which kills it; nobody will report its end."""
        if self._pidfd is None:
            self.fail("the zygote died")
            return
        self.kill()
        asyncio.get_running_loop().add_reader(self._pidfd, self.finish, Reaped(None))

    def resident_bytes(self) -> int:
        """Return the memory it has now, shared with its zygote or not; 0 if unknown."""
        pid = None if self._pidfd is None else pid_of(self._pidfd)
        return 0 if pid is None else resident_bytes(pid)

    def kill(self) -> None:
        """Kill it, now or as soon as its descriptor arrives."""
        self._doomed = True
        if self._pidfd is not None:
            try:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            except ProcessLookupError:
                return

    async def clean(self) -> None:
        """Remove its scratch directory."""
        if self._scratch:
            await asyncio.to_thread(remove_tree, self._scratch)


class Link:
    """Talks to one zygote; made by `start`."""

    def __init__(self, level: Level, machine: Machine, control: socket.socket, starter: Starter, plan: Plan) -> None:
        self.level = level
        self.lost = asyncio.Event()
        self.hello: dict[str, Any] = {}
        self.spawned = 0
        self._machine = machine
        self._control = control
        self._starter = starter
        self._plan = plan
        self._shared_bytes = 0
        self._greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._children: dict[int, ZygoteChild] = {}
        self._numbers = itertools.count(1)
        self._posting = asyncio.Lock()
        self._writing = asyncio.Event()

    @classmethod
    async def start(cls, level: Level, machine: Machine) -> "Link":
        """Start a zygote and wait until it is warm, in about 0.2 s.

        Raises:
            SandboxUnavailable: it did not start; the message has what it said.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            try:
                launch = prepare(
                    level, machine.interpreter, machine.folder, theirs.fileno(), machine.packages, machine.scratch_bytes
                )
            except OSError as error:
                ours.close()
                raise SandboxUnavailable(str(error)) from error
            if (user := launch.program.user) is not None:
                await asyncio.to_thread(os.chown, machine.folder.runs, user, user)
            link = cls(level, machine, ours, Starter(launch.program, theirs.fileno()), launch.plan)
            try:
                await link._boot()
            except BaseException:
                await link.close()
                raise
        return link

    @property
    def killed(self) -> bool:
        """Whether its end was a SIGKILL from somewhere."""
        return self._starter.ended.done() and self._starter.ended.result().killed

    @property
    def children(self) -> int:
        """How many of its children live."""
        return len(self._children)

    async def _boot(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await self._starter.started
        except OSError as error:
            raise SandboxUnavailable(f"level {self.level.name} does not start: {error}") from error
        guest = self._machine.guest_entry
        entries = {GUEST: guest, KEPT: KEPT_ENTRY if guest == GUEST_ENTRY else guest, PROBE: PROBE_ENTRY}
        config: dict[str, Any] = {
            "plan": asdict(self._plan),
            "entries": entries,
            "packages": PACKAGES,
            "modules": PRELOADED.split(),
        }
        config["prepare"] = PREPARE
        await self._post(config)
        loop.add_reader(self._control, self._on_readable)
        await asyncio.wait([self._greeted, self._starter.ended], timeout=HELLO_S, return_when=asyncio.FIRST_COMPLETED)
        if not self._greeted.done():
            if self.killed:
                raise DiedEarly(f"the zygote of level {self.level.name} was killed at its start")
            said = self._starter.said() or f"nothing heard from it in {HELLO_S:g} s"
            raise SandboxUnavailable(f"level {self.level.name} does not start: {said}")

    async def spawn(self, limits: Limits, on_violation: Callable[[], None], entry: str = GUEST) -> ConfinedProcess:
        """Return a new confined process that is ready.

        Raises:
            SandboxUnavailable: it could not be started or confined.
        """
        number = next(self._numbers)
        on_disk = self._plan.scratch_root and not self._plan.scratch_mounts
        scratch = f"{self._machine.folder.runs}/{number}" if on_disk else None
        child = ZygoteChild(scratch, self._shared_bytes)
        channel = Channel(limits)
        ours, theirs = socket.socketpair()
        with theirs, _pipe() as (reader, writer):
            await channel.open(ours)
            written = Written(os.dup(reader), channel.wake)
            process = ConfinedProcess(self.level.name, limits, channel, child, on_violation, written)
            self._children[number] = child
            try:
                request = {
                    "id": number,
                    "entry": entry,
                    "limits": asdict(kernel_limits(limits)),
                    "other_tasks": TASK_DRIFT + (0 if self.level.bubblewrap else await count_tasks()),
                }
                await self._post(request, theirs.fileno(), writer)
            except BaseException:
                channel.abort()
                written.close()
                self._children.pop(number, None)
                raise
        self.spawned += 1
        try:
            async with asyncio.timeout(READY_S):
                await child.born
                await process.become_ready()
        except TimeoutError as error:
            await process.close()
            self._drop_control()  # it hangs, and would for the next one too
            raise SandboxUnavailable(f"a process was not ready within {READY_S:g} s") from error
        except BaseException:
            await process.close()
            raise
        return process

    async def close(self) -> None:
        """End the zygote and with it all its children, in at most some seconds."""
        children = list(self._children.values())
        for child in children:
            child.kill()
        self._drop_control()
        if not self._starter.ended.done():
            await asyncio.wait([self._starter.ended], timeout=GOODBYE_S)
        if not self._starter.ended.done():
            self._starter.kill()
            await asyncio.wait([self._starter.ended], timeout=GOODBYE_S)
        if children:
            await asyncio.wait([child.ended for child in children], timeout=GOODBYE_S)

    async def _post(self, message: dict[str, Any], *fds: int) -> None:
        data = json.dumps(message).encode()
        async with self._posting:
            while True:
                try:
                    socket.send_fds(self._control, [data], list(fds))
                except BlockingIOError:
                    await self._writable()
                except OSError as error:
                    raise SandboxUnavailable(f"the zygote died: {error}") from error
                else:
                    return

    async def _writable(self) -> None:
        """Wait until the zygote has read some requests, or is lost."""
        loop = asyncio.get_running_loop()
        self._writing.clear()
        loop.add_writer(self._control, self._writing.set)
        try:
            await self._writing.wait()
        finally:
            if not self.lost.is_set():
                loop.remove_writer(self._control)

    def _on_readable(self) -> None:
        try:
            data, fds, _, _ = socket.recv_fds(self._control, MAX_MESSAGE, 1)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if not data:
            self._drop_control()
            return
        message: dict[str, Any] = json.loads(data)
        if "hello" in message:
            self._on_hello(message["hello"], fds)
        elif "born" in message:
            self._on_born(message["born"], fds)
        elif "stillborn" in message:
            if child := self._children.pop(message["stillborn"], None):
                child.fail(message["why"])
        elif child := self._children.pop(message["gone"], None):
            child.finish(Reaped(message["status"], message["cpu_s"], message["max_rss_bytes"], message["limit"]))

    def _on_hello(self, hello: dict[str, Any], fds: list[int]) -> None:
        self.hello = hello
        for pidfd in fds:  # none if this process has too many open
            if (pid := pid_of(pidfd)) is not None:
                raise_oom_score(pid)
                self._shared_bytes = resident_bytes(pid)
            os.close(pidfd)
        if not self._greeted.done():
            self._greeted.set_result(None)

    def _on_born(self, number: int, fds: list[int]) -> None:
        child = self._children.get(number)
        if not fds:  # this process has too many open; without its channel a process that was given nothing ends
            if child is not None:
                child.fail("this process has no descriptors left")
        elif child is not None:
            child.begin(fds[0])
        else:
            signal.pidfd_send_signal(fds[0], signal.SIGKILL)
            os.close(fds[0])

    def _drop_control(self) -> None:
        if self.lost.is_set():
            return
        self.lost.set()
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._control)
        loop.remove_writer(self._control)
        self._control.close()
        self._writing.set()
        for child in self._children.values():
            child.orphan()
        self._children.clear()


@contextmanager
def _pipe() -> Generator[tuple[int, int]]:
    """Open a pipe for a while: a reading end that does not block and a writing end that does."""
    reader, writer = os.pipe()
    try:
        os.set_blocking(reader, False)
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


def pid_of(pidfd: int) -> int | None:
    """Return the process of a descriptor, None if it is gone or /proc is missing."""
    try:
        with open(f"/proc/self/fdinfo/{pidfd}") as info:
            pid = next((int(line.split()[1]) for line in info if line.startswith("Pid:")), -1)
    except OSError:
        return None
    return pid if pid > 0 else None


def raise_oom_score(pid: int) -> None:
    """Make a process and its later children the first to go; where /proc is missing, leave it."""
    try:
        with open(f"/proc/{pid}/oom_score_adj", "w") as score:
            score.write(str(OOM_SCORE))
    except OSError:
        return


async def count_tasks() -> int:
    """Return how many threads this user has on the machine; 0 for root, to whom the kernel's limit does not apply."""
    return await asyncio.to_thread(_count_tasks, os.getuid()) if os.getuid() else 0


def _count_tasks(user: int) -> int:
    count = 0
    with os.scandir("/proc") as processes:
        for process in processes:
            if not process.name.isdigit():
                continue
            try:
                if process.stat().st_uid == user:
                    count += len(os.listdir(f"{process.path}/task"))
            except OSError:
                continue
    return count
