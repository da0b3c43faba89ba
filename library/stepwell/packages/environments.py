"""Environments of packages: found at create, installed once, there again when a run needs one."""

import asyncio
import hashlib
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from types import TracebackType

from stepwell.errors import PackageRefused, PackagesUnavailable
from stepwell.model import Version
from stepwell.model.packages import Environment, Lock
from stepwell.model.requirements import Requirement, read_requirement
from stepwell.packages import unpack
from stepwell.packages.installers import BOUNDS, WANTED, Installer, find_installer
from stepwell.packages.policy import PackagePolicy, check_machine, check_python, this_platform, this_python
from stepwell.packages.running import Work, run
from stepwell.packages.shelf import SITE, Shelf
from stepwell.ports.packages import Tell

DOWNLOAD_SHARE = 3  # wheels, their unpacked files and what an installer keeps beside them


@dataclass(slots=True)
class _Job:
    """Something that is being installed, for whoever asks for it."""

    listeners: list[Tell] = field(default_factory=list[Tell])
    task: asyncio.Task[Lock] = field(init=False)
    doing: str = ""

    def begin(self, doing: str) -> None:
        """Tell what is done now."""
        self.doing = doing
        self._tell(doing)

    def grown(self, size: int) -> None:
        """Tell how much there is of it."""
        self._tell(f"{self.doing} ({size / 2**20:.1f} MiB so far)")

    def _tell(self, text: str) -> None:
        for listener in self.listeners:
            listener(text)


class Environments:
    """Implements `stepwell.ports.packages.Packages` over one folder. Enter it as a context; leaving ends its work."""

    def __init__(self, shelf: Shelf, policy: PackagePolicy) -> None:
        self._shelf = shelf
        self._policy = policy
        self._jobs: dict[str, _Job] = {}

    async def __aenter__(self) -> "Environments":
        if self._shelf.path.exists():
            await asyncio.to_thread(self._shelf.sweep)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [job.task for job in self._jobs.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def check(self, version: Version) -> None:
        """See `Packages.check`."""
        requirements = declared(version)
        check_python(version)
        self._policy.check_declared(requirements)

    async def prepare(self, version: Version, tell: Tell | None = None) -> Lock | None:
        """See `Packages.prepare`."""
        self.check(version)
        requirements = declared(version)
        if not requirements:
            return None
        if version.lock is not None:
            await self.ready(version)
            await asyncio.to_thread(self._shelf.touch, version.lock.id)
            return version.lock
        texts = sorted({str(item) for item in requirements})
        return await self._join(f"find {texts}", lambda job: self._find(texts, job), tell)

    async def ready(self, version: Version) -> Environment | None:
        """See `Packages.ready`."""
        if not version.manifest.get("dependencies"):
            return None
        lock = version.lock
        if lock is None:
            raise PackageRefused(
                "this version declares packages and was stored without any",
                hint="Create the workflow again with the same source, which finds and installs them.",
            )
        check_machine(lock)
        self._policy.check_lock(lock)
        found = self._shelf.find(lock.id)
        if found is None:
            await self._join(f"restore {lock.id}", lambda job: self._restore(lock, job), None)
            found = self._shelf.find(lock.id)
        if found is None:
            raise PackagesUnavailable("the packages were deleted while they were installed", hint="Try again.")
        return found

    async def _join(self, key: str, work: Callable[[_Job], Coroutine[None, None, Lock]], tell: Tell | None) -> Lock:
        """Return what a job comes to, which is begun if nobody has; it goes on when the caller gives up."""
        job = self._jobs.get(key)
        if job is None:
            job = self._jobs[key] = _Job()
            job.task = asyncio.create_task(work(job), name="stepwell-packages")
            job.task.add_done_callback(lambda task: task.cancelled() or task.exception())  # its callers may be gone
        if tell is not None:
            job.listeners.append(tell)
        try:
            return await asyncio.shield(job.task)
        finally:
            # Kept until somebody has seen its end: an author who was told to call again gets it then.
            if job.task.done():
                self._jobs.pop(key, None)
            if tell is not None:
                job.listeners.remove(tell)

    async def _find(self, texts: list[str], job: _Job) -> Lock:
        async def resolve(installer: Installer, work: Work) -> Lock:
            job.begin(f"looking for {', '.join(texts)}")
            (work.path / WANTED).write_text("\n".join(texts) + "\n")
            (work.path / BOUNDS).write_text("".join(f"{_bound(item)}\n" for item in self._policy.allow if item.bounds))
            files = tuple(sorted(await installer.resolve(work), key=lambda file: (file.name, file.file)))
            lock = Lock(tuple(texts), this_python(), this_platform(), files)
            self._policy.check_lock(lock)
            return lock

        return await self._make(_digest(texts), resolve, job)

    async def _restore(self, lock: Lock, job: _Job) -> Lock:
        async def given(installer: Installer, work: Work) -> Lock:
            return lock

        return await self._make(lock.id, given, job)

    async def _make(self, key: str, resolve: Callable[[Installer, Work], Awaitable[Lock]], job: _Job) -> Lock:
        installer = find_installer()
        async with self._shelf.turn(key):
            staging = self._shelf.stage()
            try:
                work = Work(staging.path, self._policy.max_bytes * DOWNLOAD_SHARE, job.grown)
                lock = await resolve(installer, work)
                if self._shelf.find(lock.id) is None:
                    await self._install(installer, work, lock, job)
                await asyncio.to_thread(self._shelf.touch, lock.id)
            except OSError as error:
                raise PackagesUnavailable(f"the packages could not be installed: {error}") from error
            finally:
                await asyncio.shield(asyncio.to_thread(staging.close))
        return lock

    async def _install(self, installer: Installer, work: Work, lock: Lock, job: _Job) -> None:
        names = ", ".join(f"{file.name} {file.version}" for file in lock.files)
        job.begin(f"installing {names}")
        site = work.path / SITE
        wheels = await installer.fetch(work, lock.files, site)
        told = {"wheels": [str(wheel) for wheel in wheels], "site": str(site), "max_bytes": self._policy.max_bytes}
        words = (sys.executable, "-I", "-S", "-B", unpack.__file__)
        ended = await run(work, words, json.dumps(told).encode())
        answer = json.loads(ended.stdout) if ended.code == 0 else {"error": f"exit code {ended.code}"}
        if "error" in answer:
            raise PackageRefused(
                f"the packages were not installed: {answer['error']}", hint="Use others, or other versions of them."
            )
        await asyncio.to_thread(self._shelf.put, work.path, lock)


def declared(version: Version) -> list[Requirement]:
    """Return what a version asks for."""
    return [read_requirement(text) for text in version.manifest.get("dependencies", [])]


def _bound(item: Requirement) -> str:
    return f"{item.name}{item.bounds}"


def _digest(texts: list[str]) -> str:
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()
