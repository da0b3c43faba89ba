"""Unpack wheels into a folder, as a process of its own. Standard library only; executes nothing of what it unpacks.

Reads `{"wheels": [path, ...], "site": path, "max_bytes": n}` from its input and writes `{"bytes": n}` or
`{"error": text}`. Wheels are hostile by assumption: names that lead out, links, bombs, files that other programs run.
"""

import compileall
import json
import os
import py_compile
import re
import shutil
import stat
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

MAX_FILES = 100_000
MAX_NAME = 1000  # characters
MAX_DEPTH = 40
MEMORY_BYTES = 2 * 1024**3
CPU_S = 600
CHUNK = 1024 * 1024
INSIDE = "/packages"  # what compiled files name as their place
_OURS = frozenset({"stepwell", "stepwell_sandbox", "stepwell_server"})
# Run by an interpreter's start where a folder is a site; here they never are, and nobody shall be tempted.
_STARTUP = re.compile(r"[^/]*\.pth|(sitecustomize|usercustomize)(\.[^/]*|/.*)", re.DOTALL)
_PROGRAMS = ("bin/", "include/", "Scripts/")  # at the root: scripts and headers
_RECORDS = frozenset(
    {"RECORD", "RECORD.jws", "RECORD.p7s", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"}
)
_DATA = re.compile(r"[^/]+\.data/(?P<kind>[^/]+)/(?P<rest>.+)", re.DOTALL)
_TESTS = re.compile(r"[\\/]tests?[\\/]")
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError)


class Refused(Exception):
    """A wheel holds what no wheel may hold."""


def main() -> None:
    """Do what the input says and write what came of it."""
    _limit()
    told: dict[str, Any] = json.load(sys.stdin)
    try:
        size = unpack([Path(wheel) for wheel in told["wheels"]], Path(told["site"]), told["max_bytes"])
        answer: dict[str, Any] = {"bytes": size}
    except Refused as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": "a wheel needs more memory to be read than is allowed"}
    sys.stdout.write(json.dumps(answer))


def unpack(wheels: list[Path], site: Path, max_bytes: int) -> int:
    """Unpack wheels beside what is in `site` already, compile and write-protect it all; return its bytes.

    Raises:
        Refused: nothing of it may be used.
    """
    site.mkdir(exist_ok=True)
    room = _Room(max_bytes)
    for wheel in sorted(wheels):
        try:
            with zipfile.ZipFile(wheel) as opened:
                _unpack(opened, wheel.name, site, room)
        except _DAMAGED as error:
            raise Refused(f"{wheel.name} is damaged: {str(error)[:200]}") from error
    _check_tree(site, _Room(max_bytes))
    for name in _PROGRAMS:
        shutil.rmtree(site / name, ignore_errors=True)
    compileall.compile_dir(
        str(site), quiet=2, force=True, rx=_TESTS, stripdir=str(site), prependdir=INSIDE,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )  # fmt: skip
    return _protect(site)


class _Room:
    """What is left of the bytes and files that are allowed."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = max_bytes
        self._files = MAX_FILES

    def take(self, size: int, files: int = 0) -> None:
        """Use some.

        Raises:
            Refused: there is not so much.
        """
        self._bytes -= size
        self._files -= files
        if self._bytes < 0:
            raise Refused(f"it has more than {self._max_bytes // 1024**2} MiB, the limit [packages] max_mib")
        if self._files < 0:
            raise Refused(f"it has more than {MAX_FILES:,} files")


def _unpack(wheel: zipfile.ZipFile, file: str, site: Path, room: _Room) -> None:
    for member in wheel.infolist():
        _check_member(member, file)
        target = _place(member.filename, file)
        room.take(0, files=1)
        if target is None or member.is_dir():
            continue
        path = site / target
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists():
                _check_same(wheel, member, path, file)
                continue
            with wheel.open(member) as source, path.open("xb") as written:
                while chunk := source.read(CHUNK):
                    room.take(len(chunk))
                    written.write(chunk)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise Refused(f"{file}: {member.filename[:200]!a} is a file here and a folder there") from error


def _check_member(member: zipfile.ZipInfo, file: str) -> None:
    name = member.filename
    parts = name.removesuffix("/").split("/")
    strange = "\\" in name or "\0" in name or ":" in parts[0] or any(part in ("", ".", "..") for part in parts)
    if strange or len(name) > MAX_NAME or len(parts) > MAX_DEPTH:
        raise Refused(f"{file} holds the name {name[:200]!a}, which leads out of its folder or is none")
    mode = member.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise Refused(f"{file}: {name[:200]!a} is a link or another special file")


def _place(name: str, file: str) -> str | None:
    """Return where a member goes; None for what is left out."""
    if (found := _DATA.fullmatch(name)) is not None:
        if found["kind"] in ("scripts", "headers"):
            return None
        if found["kind"] not in ("purelib", "platlib", "data"):
            raise Refused(f"{file} holds {name[:200]!a}, which no wheel may hold")
        name = found["rest"]
    if name.partition("/")[0].partition(".")[0] in _OURS:
        raise Refused(f"{file} holds {name[:200]!a}: that name belongs to Stepwell")
    return None if _is_left_out(name) else name


def _is_left_out(name: str) -> bool:
    folder, _, last = name.rpartition("/")
    if folder.endswith(".dist-info") and "/" not in folder and last in _RECORDS:
        return True
    return name.startswith(_PROGRAMS) or _STARTUP.fullmatch(name) is not None


def _check_same(wheel: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, file: str) -> None:
    if path.stat().st_size != member.file_size or wheel.read(member) != path.read_bytes():
        raise Refused(f"{file} overwrites {member.filename[:200]!a} of another package")


def _check_tree(site: Path, room: _Room) -> None:
    """Look at everything that is there, whoever has unpacked it."""
    for folder, folders, files in os.walk(site, topdown=True):
        inside = os.path.relpath(folder, site)
        for name in [*folders, *files]:
            path = Path(folder, name)
            relative = name if inside == "." else f"{inside}/{name}"
            state = path.lstat()
            if stat.S_ISLNK(state.st_mode) or not (stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode)):
                raise Refused(f"{relative[:200]!a} is a link or another special file")
            if inside == "." and name.partition(".")[0] in _OURS:
                raise Refused(f"{relative[:200]!a}: that name belongs to Stepwell")
            if stat.S_ISREG(state.st_mode):
                room.take(state.st_size, files=1)
                if _is_left_out(relative) or relative == ".lock":
                    path.unlink()


def _protect(site: Path) -> int:
    size = 0
    for folder, _, files in os.walk(site, topdown=False):
        for name in files:
            path = Path(folder, name)
            size += path.stat().st_size
            path.chmod(0o444)
        Path(folder).chmod(0o755 if folder == str(site) else 0o555)  # the topmost is renamed
    return size


def _limit() -> None:
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - does not exist on Windows

    for which, value in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_CPU, CPU_S)):
        try:
            resource.setrlimit(which, (value, value))
        except (OSError, ValueError):  # lower already, or not known to this system
            continue


if __name__ == "__main__":
    main()
