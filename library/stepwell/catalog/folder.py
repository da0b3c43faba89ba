"""Workflows written as files in a home's `workflows` folder."""

import asyncio
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from stepwell.catalog.catalog import Catalog, Created
from stepwell.catalog.source import MAX_SOURCE_BYTES
from stepwell.catalog.transfer import read_file
from stepwell.errors import InvalidSource, NameTaken, PackagesUnavailable, RequestError

PATIENCE_S = 30.0
"""How long a look at the folder waits for packages of a new file; they are installed all the same."""
_Stamp: TypeAlias = tuple[int, int, int]  # modification time in ns, size in bytes, inode
_NO_STAMP: _Stamp = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that is not stored as it stands."""

    path: Path
    message: str
    line: int | None = None
    passing: bool = False
    """It may be over at the next look: another workflow has the name, or packages are being installed."""


@dataclass(frozen=True, slots=True)
class FolderReport:
    """What a look at the folder changed in the catalogue, and what is wrong in the folder now."""

    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class _Found:
    path: Path
    stamp: _Stamp
    problem: str = ""


class FolderWatch:
    """Keeps a catalogue in step with a folder; files that did not change are not read again."""

    def __init__(self, catalog: Catalog, folder: Path) -> None:
        self._catalog = catalog
        self._folder = folder
        self._prefix = f"file:{folder.name}/"  # without the way to the home, which may be moved
        self._seen: dict[str, _Stamp] | None = None
        self._problems: dict[str, Problem] = {}
        self._refreshing = asyncio.Lock()

    async def refresh(self) -> FolderReport:
        """Take in what changed since the last call; the first call reads every file."""
        async with self._refreshing:
            return await self._refresh()

    async def _refresh(self) -> FolderReport:
        found = await asyncio.to_thread(_scan, self._folder)
        seen = self._seen or {}
        created: list[str] = []
        updated: list[str] = []
        for name, item in found.items():
            if seen.get(name) == item.stamp:
                continue
            outcome = await self._take(name, item)
            if outcome is not None and outcome.created:
                (updated if outcome.replaced else created).append(name)
        deleted = await self._drop(found) if self._seen is None or seen.keys() - found.keys() else []
        self._problems = {name: problem for name, problem in self._problems.items() if name in found}
        # Tried again each time: the other workflow of that name may be deleted meanwhile.
        self._seen = {name: item.stamp for name, item in found.items() if not self._passes(name)}
        problems = tuple(self._problems[name] for name in sorted(self._problems))
        return FolderReport(created=tuple(created), updated=tuple(updated), deleted=tuple(deleted), problems=problems)

    async def _take(self, name: str, item: _Found) -> Created | None:
        self._problems.pop(name, None)
        try:
            if item.problem:
                raise InvalidSource(item.problem)
            said = read_file(await asyncio.to_thread(_read, item.path))
            origin = f"{self._prefix}{item.path.name}"
            async with asyncio.timeout(PATIENCE_S):
                return await self._catalog.create(
                    name,
                    said.source,
                    description=said.description,
                    intents=said.intents,
                    tags=said.tags,
                    entry=said.entry,
                    replace=True,
                    origin=origin,
                )
        except TimeoutError:
            self._problems[name] = Problem(path=item.path, message="Its packages are being installed.", passing=True)
            return None
        except (RequestError, PackagesUnavailable) as error:
            line = error.line if isinstance(error, InvalidSource) else None
            message = error.message if line else f"{error.message} {error.hint}".strip()
            self._problems[name] = Problem(
                path=item.path, message=message, line=line, passing=isinstance(error, NameTaken)
            )
            return None

    async def _drop(self, found: dict[str, _Found]) -> list[str]:
        files = {f"{self._prefix}{item.path.name}" for item in found.values()}
        stored = await self._catalog.names(self._prefix)
        return [name for name, origin in stored if origin not in files and await self._catalog.delete(name)]

    def _passes(self, name: str) -> bool:
        return name in self._problems and self._problems[name].passing


async def sync_folder(catalog: Catalog, folder: Path) -> FolderReport:
    """Bring a catalogue in step with a folder once."""
    return await FolderWatch(catalog, folder).refresh()


def _scan(folder: Path) -> dict[str, _Found]:
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".py" and path.name[0] not in "._")
    except FileNotFoundError:
        return {}
    home = folder.resolve()
    return {path.stem: _examine(path, home) for path in paths}


def _examine(path: Path, home: Path) -> _Found:
    try:
        if not path.resolve().is_relative_to(home):
            return _Found(path=path, stamp=_NO_STAMP, problem="The file is a link that leads out of the folder.")
        status = path.stat()
    except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself, before Python 3.13
        return _Found(path=path, stamp=_NO_STAMP, problem=f"The file cannot be read: {error}.")
    stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
    if not stat.S_ISREG(status.st_mode):
        return _Found(path=path, stamp=stamp, problem="It is no regular file.")
    if status.st_size > MAX_SOURCE_BYTES:
        problem = f"The file has {status.st_size:,} bytes; at most {MAX_SOURCE_BYTES:,} are accepted."
        return _Found(path=path, stamp=stamp, problem=problem)
    return _Found(path=path, stamp=stamp)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_SOURCE_BYTES + 1).decode()
    except OSError as error:
        raise InvalidSource(f"The file cannot be read: {error}.") from error
    except UnicodeDecodeError as error:
        raise InvalidSource(f"Byte {error.start} of the file is no UTF-8.", hint="Save it in that encoding.") from error
