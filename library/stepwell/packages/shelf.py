"""The folder of environments. One appears under its name when it is whole, by a rename, and is not written to again."""

import asyncio
import json
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from stepwell.model.locks import take_lock
from stepwell.model.packages import Environment, Lock

SITE = "site"
_ABOUT = "environment.json"
_LOCK = "lock"
_NEW = ".new-"
_TURNS = "locks"
TURNS = 64  # locks; two environments may share one
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Shelved:
    """One environment, for people."""

    id: str
    bytes: int
    packages: tuple[str, ...]
    """`name version`."""
    used_at: float
    """Unix seconds at which it was made, or last given to a version that was stored."""


class Staging:
    """A folder to work in, locked while this process lives; what a kill leaves is deleted by the next start."""

    def __init__(self, path: Path, held: int) -> None:
        self.path = path
        self._held = held

    def close(self) -> None:
        """Delete it."""
        with suppress(OSError):  # something in it is still being written: the next start deletes it
            _delete(self.path)
        os.close(self._held)


class Shelf:
    """Environments on disk. Its methods block, except `turn`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, id_: str) -> Environment | None:
        """Return a whole environment."""
        site = self.path / id_ / SITE
        return Environment(id_, site) if site.is_dir() else None

    def stage(self) -> "Staging":
        """Return a new folder to work in."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        while True:
            work = Path(tempfile.mkdtemp(prefix=_NEW, dir=self.path))
            held = take_lock(work / _LOCK)
            if held is None:
                continue
            if os.fstat(held).st_nlink:
                return Staging(work, held)
            os.close(held)  # swept between the lines above

    def put(self, work: Path, lock: Lock) -> Environment:
        """Give the finished folder `work/site` its name; if another process was faster, its environment is returned."""
        made = work / "whole"
        made.mkdir()
        (made / _ABOUT).write_text(json.dumps(asdict(lock)))
        os.rename(work / SITE, made / SITE)
        os.sync()  # a power cut must not leave the name of files that are empty
        with suppress(OSError):  # it is there already
            os.rename(made, self.path / lock.id)
        found = self.find(lock.id)
        if found is None:
            raise FileNotFoundError(f"the environment {lock.id} could not be given its name")
        return found

    def touch(self, id_: str) -> None:
        """Note that an environment is about to be used by a version."""
        with suppress(OSError):
            os.utime(self.path / id_)

    def sweep(self) -> None:
        """Delete what processes that died have left half done; a living one holds its folder's lock."""
        for work in self.path.glob(f"{_NEW}*"):
            held = take_lock(work / _LOCK)
            if held is None:
                continue
            try:
                _delete(work)
            except OSError:  # a killed process's installer is still writing
                continue
            finally:
                os.close(held)

    def list(self) -> list[Shelved]:
        """Return the whole environments, the newest first."""
        found: list[Shelved] = []
        for folder in self.path.glob("*"):
            if folder.name.startswith(".") or not (folder / SITE).is_dir():
                continue
            try:
                about = json.loads((folder / _ABOUT).read_text())
                packages = tuple(f"{file['name']} {file['version']}" for file in about["files"])
                found.append(Shelved(folder.name, folder_size(folder), packages, folder.stat().st_mtime))
            except FileNotFoundError:  # deleted meanwhile
                continue
        return sorted(found, key=lambda item: -item.used_at)

    def remove(self, id_: str, before: float) -> int:
        """Delete an environment that was last given to a version before a time; return the bytes that it had."""
        folder = self.path / id_
        try:
            if folder.stat().st_mtime >= before:
                return 0
            size = folder_size(folder)
            staging = self.stage()  # under its name it must never be half there
            try:
                os.rename(folder, staging.path / "gone")
            finally:
                staging.close()
        except FileNotFoundError:
            return 0
        return size

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncGenerator[None, None]:
        """Wait until no other process makes the same."""
        folder = self.path / _TURNS
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True, mode=0o700)
        while (held := take_lock(folder / f"{int(key[:8], 16) % TURNS:02}")) is None:  # noqa: ASYNC110  another process
            await asyncio.sleep(POLL_S)
        try:
            yield
        finally:
            os.close(held)


def folder_size(path: Path) -> int:
    """Return the bytes of all files below a folder that others may be writing to; links count as themselves."""
    total = 0
    waiting = [str(path)]
    while waiting:
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
    return total


def _delete(path: Path) -> None:
    for folder, _, _ in os.walk(path):
        os.chmod(folder, stat.S_IRWXU)
    shutil.rmtree(path)
