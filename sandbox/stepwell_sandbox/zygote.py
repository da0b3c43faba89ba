"""The zygote: a clean, warm interpreter that forks one confined child per run. Standard library only.

It holds no secret and runs no guest code itself. It has one thread and one descriptor, the control socket
to its host, over which it takes a `Config` and then requests, each one datagram of JSON:

- host: `{"id": n, "entry": "guest", "limits": {...}, "other_tasks": n}` with the child's end of its channel and what
  becomes its descriptors 1 and 2;
- zygote: `{"hello": {...}}` with a pidfd of itself, `{"born": n}` with a pidfd of the child,
  `{"stillborn": n, "why": text}`, `{"gone": n, "status": n, "cpu_s": x, "max_rss_bytes": n, "limit": name | null}`.
"""

import array
import faulthandler
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stepwell_sandbox.confine import landlock, libc, namespaces
from stepwell_sandbox.confine.confinement import Confinement
from stepwell_sandbox.confine.plan import Plan, ProcessLimits
from stepwell_sandbox.confine.quota import over_quota
from stepwell_sandbox.confine.removal import remove_tree
from stepwell_sandbox.wire import HEADER

MAX_MESSAGE = 65536  # bytes; ours are a few hundred
GUEST = "guest"
"""The name of the entry that loads packages, by itself and confined: they never run with the zygote's rights."""
QUOTA_INTERVAL_MS = 50
QUOTA_SHARE = 5
"""The scratch directories are measured for at most one part in so many of the time."""
UNCONFINED_STATUS = 98
RETURNED_STATUS = 99


@dataclass(frozen=True, slots=True)
class Config:
    """What a zygote is told once, at its start."""

    plan: Plan
    entries: dict[str, str]
    """`module:function` by the name under which requests ask for it."""
    packages: tuple[str, ...]
    """Loaded with all their modules."""
    modules: tuple[str, ...]
    """Loaded where they exist."""
    prepare: str
    """`module:function` to call once when all is loaded."""


@dataclass(slots=True)
class _Child:
    id: int
    pid: int
    scratch: str
    scratch_bytes: int
    limit: str | None = None


def main(fd: int) -> None:
    """Serve requests on the control socket `fd` until the host closes it. Never returns."""
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    control = socket.socket(fileno=fd)
    told: dict[str, Any] = json.loads(control.recv(MAX_MESSAGE))
    plan: dict[str, Any] = told["plan"]
    plan |= {name: tuple(plan[name]) for name in ("readable", "hidden")}
    config = Config(Plan(**plan), told["entries"], tuple(told["packages"]), tuple(told["modules"]), told["prepare"])
    _preload(config)
    faulthandler.enable(2)  # what it says of a crash of a child is among what that has written
    _resolve(config.prepare)()
    zygote = Zygote(control, config)
    gc.collect()
    gc.freeze()
    zygote.serve()


def _preload(config: Config) -> None:
    """Load the guest's package and what workflows may import."""
    for name in config.packages:
        importlib.import_module(name)
    for name in config.modules:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    for name in config.packages:
        package = importlib.import_module(name)
        for found in pkgutil.walk_packages(package.__path__, name + "."):
            if not found.name.endswith(".__main__"):
                importlib.import_module(found.name)


def _resolve(entry: str) -> Callable[..., object]:
    module, _, function = entry.partition(":")
    return getattr(importlib.import_module(module), function)


class Zygote:
    """Forks, watches and reaps children."""

    def __init__(self, control: socket.socket, config: Config) -> None:
        self._control = control
        self._confinement = Confinement(config.plan)
        self._plan = config.plan
        self._entries = {name: _resolve(entry) for name, entry in config.entries.items()}
        self._pid_namespace = namespaces.OwnPidNamespace() if config.plan.own_namespaces else None
        self._children: dict[int, _Child] = {}
        self._mounts = list(range(config.plan.scratch_mounts))
        self._poll = select.poll()
        self._pid = os.getpid()
        self._confinement.hide_packages()

    def serve(self) -> None:
        """Answer the host until it closes the socket. Never returns."""
        self._poll.register(self._control, select.POLLIN)
        own = os.pidfd_open(self._pid)
        self._tell({"hello": {"landlock_abi": landlock.abi()}}, own)
        os.close(own)
        next_check = 0.0
        while True:
            watched = self._children if self._plan.scratch_root and not self._plan.own_namespaces else {}
            for fd, _ in self._poll.poll(QUOTA_INTERVAL_MS if watched else None):
                if fd == self._control.fileno():
                    self._answer()
                else:
                    self._reap(fd)
            now = time.monotonic()
            if watched and now >= next_check:
                self._check_quotas()
                took = time.monotonic() - now
                next_check = now + took + max(QUOTA_INTERVAL_MS / 1000, took * QUOTA_SHARE)

    def _tell(self, message: dict[str, Any], *fds: int) -> None:
        try:
            socket.send_fds(self._control, [json.dumps(message).encode()], list(fds))
        except OSError:
            os._exit(0)

    def _take_scratch(self, run: int) -> str:
        """Return where the next child has its scratch directory; empty for nowhere."""
        plan = self._plan
        if plan.own_namespaces:
            return plan.private_scratch
        if not plan.scratch_mounts:
            return f"{plan.scratch_root}/{run}" if plan.scratch_root else ""
        if not self._mounts:
            raise libc.ConfineError(f"all {plan.scratch_mounts} scratch directories are in use; try again")
        return f"{plan.scratch_root}/{self._mounts.pop()}/run"

    def _answer(self) -> None:
        data, ancillary, *_ = self._control.recvmsg(MAX_MESSAGE, socket.CMSG_SPACE(8))
        if not data:
            os._exit(0)  # the host is gone; the children die with this process
        fds = array.array("i")
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(content[: len(content) // fds.itemsize * fds.itemsize])
        request: dict[str, Any] = json.loads(data)
        scratch = ""
        try:
            scratch = self._take_scratch(request["id"])
            pid = self._fork(fds[0], fds[1], request, scratch)
        except (OSError, libc.ConfineError) as error:
            if self._plan.scratch_mounts and scratch:
                self._clear_mount(scratch)
            self._tell({"stillborn": request["id"], "why": str(error)})
            return
        finally:
            for fd in fds:
                os.close(fd)
        pidfd = os.pidfd_open(pid)
        limits = request["limits"]
        self._children[pidfd] = _Child(request["id"], pid, scratch, limits["scratch_bytes"])
        self._poll.register(pidfd, select.POLLIN)
        self._tell({"born": request["id"]}, pidfd)

    def _fork(self, channel: int, written: int, request: dict[str, Any], scratch: str) -> int:
        namespaces.assert_single_thread()
        if self._pid_namespace is None:
            pid = os.fork()
        else:
            with self._pid_namespace:
                pid = os.fork()
                if pid == 0:
                    self._become_guest(channel, written, request, scratch)
        if pid == 0:
            self._become_guest(channel, written, request, scratch)
        return pid

    def _become_guest(self, channel: int, written: int, request: dict[str, Any], scratch: str) -> None:
        """Confine this process and run the entry. Never returns."""
        try:
            others = 0 if self._plan.own_namespaces else request["other_tasks"] + len(self._children)
            limits = ProcessLimits(**request["limits"])
            self._confinement.apply(channel, written, scratch, limits, others)
            if self._pid_namespace is None and os.getppid() != self._pid:
                os._exit(0)  # the zygote died before the parent-death signal was set
        except BaseException as error:  # noqa: BLE001 - nothing may run on in a process that is not confined
            _send_unconfined(channel, error)
            os._exit(UNCONFINED_STATUS)
        # Whatever leaves the entry must not run on in code that is the zygote's.
        try:
            entry = self._entries[request["entry"]]
            if self._plan.packages and request["entry"] == GUEST:
                entry(packages=self._plan.packages, seal=self._confinement.seal)
            else:
                self._confinement.seal()
                entry()
        finally:
            os._exit(RETURNED_STATUS)

    def _reap(self, pidfd: int) -> None:
        self._poll.unregister(pidfd)
        child = self._children.pop(pidfd)
        os.close(pidfd)
        _, status, usage = os.wait4(child.pid, 0)
        if self._plan.scratch_mounts:
            self._clear_mount(child.scratch)
        self._tell(
            {
                "gone": child.id,
                "status": status,
                "cpu_s": usage.ru_utime + usage.ru_stime,
                "max_rss_bytes": usage.ru_maxrss * 1024,
                "limit": child.limit,
            }
        )

    def _clear_mount(self, scratch: str) -> None:
        """Delete what a child has left in its file system, which the next one gets."""
        try:
            remove_tree(scratch)
        except OSError:
            return  # nobody gets it; it ends with this process
        self._mounts.append(int(scratch.split("/")[-2]))

    def _check_quotas(self) -> None:
        for pidfd, child in self._children.items():
            if child.limit is None and over_quota(child.scratch, child.scratch_bytes, namespaces.MAX_FILES):
                child.limit = "scratch_bytes"
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def _send_unconfined(channel: int, error: BaseException) -> None:
    """Tell the host why; the channel is at its old number or already at 3."""
    text = json.dumps({"t": "unconfined", "why": f"{type(error).__name__}: {error}"[:500]}).encode()
    for fd in (3, channel):
        try:
            os.write(fd, HEADER.pack(len(text)) + text)
        except OSError:
            continue
        return
