"""uv and pip, as programs: they find and download wheels with the user's own settings, and build nothing."""

import hashlib
import importlib.util
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

from stepwell.errors import PackageRefused, PackagesUnavailable
from stepwell.model.packages import LockedFile
from stepwell.model.requirements import normal_name
from stepwell.packages.running import Work, run
from stepwell.tools.processes import Ended

WANTED, BOUNDS, PINNED, WHEELS, FOUND = "wanted.txt", "bounds.txt", "pinned.txt", "wheels", "pylock.toml"
_OFFLINE = re.compile(
    r"connection (?:refused|reset|error|broken|timed out)|failed to (?:establish|fetch)|timed? ?out|name resolution|"
    r"dns error|network|unreachable|proxy|error sending request|certificate",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"[a-z][a-z0-9+]*://[^\s'\"<>)]+", re.IGNORECASE)
_MAX_SAID = 600  # characters of what an installer said
_NO_SPACE = re.compile(r"no space left|disk quota", re.IGNORECASE)


class Installer(Protocol):
    """One of the two. Both work in a folder of their own."""

    @property
    def name(self) -> str:
        """For people."""
        ...

    async def resolve(self, work: Work) -> list[LockedFile]:
        """Return the wheels that fit `wanted.txt` within `bounds.txt`, with all that they need.

        Raises:
            PackageRefused: there are none.
            PackagesUnavailable: no index could be asked.
        """
        ...

    async def fetch(self, work: Work, files: Sequence[LockedFile], site: Path) -> list[Path]:
        """Get exactly these wheels: return their paths, or have them unpacked in `site`.

        Raises:
            PackageRefused: one of them is not to be had, or another file has its name.
            PackagesUnavailable: no index could be asked.
        """
        ...


def find_installer() -> Installer:
    """Return uv where it is there, else pip.

    Raises:
        PackagesUnavailable: there is neither.
    """
    beside = os.path.dirname(sys.executable)
    uv = shutil.which("uv") or shutil.which("uv", path=beside)
    if uv is not None:
        return Uv(uv)
    if importlib.util.find_spec("pip") is not None:
        return Pip((sys.executable, "-P", "-m", "pip"))
    pip = shutil.which("pip", path=beside) or shutil.which(f"pip{sys.version_info.major}.{sys.version_info.minor}")
    if pip is not None:
        return Pip((pip, "--python", sys.executable))
    raise PackagesUnavailable(
        "packages cannot be installed: there is neither uv nor pip", hint="Install uv, or pip for this Python."
    )


class Pip:
    """pip as a program."""

    name = "pip"

    def __init__(self, words: tuple[str, ...]) -> None:
        self._words = (*words, "--no-input", "--no-color", "--disable-pip-version-check")

    async def resolve(self, work: Work) -> list[LockedFile]:
        """See `Installer`."""
        folder = work.path / WHEELS
        folder.mkdir()
        given = ("-r", WANTED, "-c", BOUNDS)
        ended = await run(work, (*self._words, "download", "--only-binary", ":all:", "-d", WHEELS, *given))
        _check(ended, "pip")
        return [read_wheel(path) for path in sorted(folder.iterdir())]

    async def fetch(self, work: Work, files: Sequence[LockedFile], site: Path) -> list[Path]:
        """See `Installer`."""
        folder = work.path / WHEELS
        if not folder.exists():
            folder.mkdir()
            _write_pins(work, files)
            exactly = ("--no-deps", "--require-hashes", "--only-binary", ":all:")
            _check(await run(work, (*self._words, "download", *exactly, "-d", WHEELS, "-r", PINNED)), "pip")
        return [_same_file(folder / file.file, file) for file in files]


class Uv:
    """uv as a program."""

    name = "uv"

    def __init__(self, path: str) -> None:
        self._words = (path, "--no-progress", "--color", "never")

    async def resolve(self, work: Work) -> list[LockedFile]:
        """See `Installer`."""
        how = ("--only-binary", ":all:", "--generate-hashes", "--python", sys.executable, "--no-header", "--quiet")
        given = (WANTED, "--constraint", BOUNDS, "--format", "pylock.toml", "-o", FOUND)
        _check(await run(work, (*self._words, "pip", "compile", *how, *given)), "uv")
        found = tomllib.loads((work.path / FOUND).read_text())
        return sorted((_from_pylock(package) for package in found.get("packages", [])), key=lambda file: file.name)

    async def fetch(self, work: Work, files: Sequence[LockedFile], site: Path) -> list[Path]:
        """See `Installer`."""
        _write_pins(work, files)
        how = (
            "--no-deps",
            "--require-hashes",
            "--only-binary",
            ":all:",
            "--link-mode",
            "copy",
            "--no-compile-bytecode",
        )
        given = ("--python", sys.executable, "--target", str(site), "-r", PINNED)
        _check(await run(work, (*self._words, "pip", "install", *how, *given)), "uv")
        return []


def read_wheel(path: Path) -> LockedFile:
    """Return what a downloaded wheel is.

    Raises:
        PackageRefused: it is no wheel.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return _named(path.name, digest)


def _named(file: str, digest: str) -> LockedFile:
    parts = file.removesuffix(".whl").split("-")
    if not file.endswith(".whl") or len(parts) not in (5, 6):
        raise PackageRefused(f"{file[:200]!a} is no wheel", hint="Only wheels are installed; nothing is built here.")
    return LockedFile(normal_name(parts[0]), parts[1], file, digest)


def _from_pylock(package: dict[str, Any]) -> LockedFile:
    wheels = package.get("wheels") or []
    if len(wheels) != 1:
        raise PackageRefused(
            f"{package.get('name')} has no wheel for this Python and machine", hint="Only wheels are installed."
        )
    wheel = wheels[0]
    place = str(wheel.get("url") or wheel.get("path") or "")
    file = wheel.get("name") or unquote(place.partition("#")[0].rpartition("/")[2])
    digest = wheel.get("hashes", {}).get("sha256")
    if not digest:
        raise PackageRefused(f"the index gives no SHA-256 of {file[:200]!a}", hint="Use an index that gives digests.")
    return _named(file, digest)


def _write_pins(work: Work, files: Sequence[LockedFile]) -> None:
    lines = [f"{file.name}=={file.version} --hash=sha256:{file.sha256}" for file in files]
    (work.path / PINNED).write_text("\n".join(lines) + "\n")


def _same_file(path: Path, wanted: LockedFile) -> Path:
    try:
        found = read_wheel(path)
    except FileNotFoundError:
        raise _gone(wanted) from None
    if found.sha256 != wanted.sha256:
        raise _gone(wanted)
    return path


def _gone(wanted: LockedFile) -> PackageRefused:
    return PackageRefused(
        f"the file {wanted.file} with the digest of its lock is not to be had any more",
        hint="Store a new version of the workflow: any change of the source is bound to packages of its own.",
    )


def _check(ended: Ended, program: str) -> None:
    """Look at how an installer ended.

    Raises:
        PackageRefused, PackagesUnavailable: it failed, by what it said.
    """
    if ended.code == 0:
        return
    text = ended.stderr.decode("utf-8", "replace")
    said = _short(text)
    if ended.timed_out:
        raise PackagesUnavailable(f"{program} took too long", hint="Look whether the package index answers.")
    if _NO_SPACE.search(text):
        raise PackagesUnavailable(f"there is no room for the packages: {said}", hint="Make room on the disk.")
    if "HASHES" in text or "hash mismatch" in text.lower():
        raise PackageRefused(
            f"{program}: the files that the index has now are not those of the lock",
            hint="Store a new version of the workflow: any change of the source is bound to packages of its own.",
        )
    if _OFFLINE.search(text):
        raise PackagesUnavailable(
            f"the package index cannot be reached: {said}",
            hint=f"Try again; it is the one that {program} is configured with for the user of this server.",
        )
    raise PackageRefused(
        f"{program} finds no wheels that fit: {said}",
        hint="Check names and bounds. Only wheels are installed: what has none for this Python and machine cannot be "
        "used.",
    )


def _short(text: str) -> str:
    # Addresses of indexes may hold passwords, and are none of an author's business.
    clean = _ADDRESS.sub("(address)", text)
    lines = [line.strip() for line in clean.splitlines() if line.strip() and "WARNING" not in line]
    errors = [line for line in lines if "error" in line.lower()] or lines
    return " ".join("".join(c if c.isprintable() else " " for c in " ".join(errors)).split())[-_MAX_SAID:]
