"""The program bubblewrap of a machine: where it is, and whether it may be used."""

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

SYSTEM_PATH = "/usr/bin/bwrap"
"""Preferred: Ubuntu's AppArmor profile for bubblewrap is tied to this path."""
OLDEST = (0, 8)
"""It has `--disable-userns`."""
MENDED = (0, 12)
"""Its setup follows no symbolic links through a folder that is bound."""
_VERSION_S = 10.0


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """What was found; `version` is empty if it does not say."""

    path: str
    version: tuple[int, ...]
    setuid: bool
    system: bool
    """It is the distribution's, at the path that profiles name."""

    @property
    def named(self) -> str:
        """Its version and path for people."""
        return f"bubblewrap {'.'.join(map(str, self.version)) or 'of unknown version'} ({self.path})"

    @property
    def refusal(self) -> str:
        """Why it may not be used; empty if it may."""
        if self.setuid:
            return f"{self.named} is setuid root, which has led to root before (CVE-2026-41163)"
        if self.version < OLDEST:
            return f"{self.named} is older than {_text(OLDEST)}"
        return ""

    @property
    def warning(self) -> str:
        """What an operator should know of one that is used; empty if nothing."""
        if self.refusal or self.version >= MENDED:
            return ""
        return (
            f"{self.named} is older than {_text(MENDED)}, which mends CVE-2026-87766; "
            "Stepwell binds no folder that a workflow can prepare, so it is not known to be affected"
        )


def find_bubblewrap(root: Path = Path("/"), environment: Mapping[str, str] | None = None) -> Bubblewrap | None:
    """Return the bubblewrap of the machine whose files are below `root`. Blocking: it is asked for its version."""
    path = root / SYSTEM_PATH.lstrip("/")
    system = os.access(path, os.X_OK)
    if not system:
        variables = os.environ if environment is None else environment
        found = shutil.which("bwrap", path=variables.get("PATH", ""))
        if found is None:
            return None
        path = Path(found)
    state = path.stat()
    return Bubblewrap(
        str(path), _version(str(path), state.st_mtime_ns), bool(state.st_mode & stat.S_ISUID), system=system
    )


@lru_cache(maxsize=8)
def _version(path: str, _changed_ns: int) -> tuple[int, ...]:
    try:
        said = subprocess.run(  # noqa: S603 - the machine's own program
            [path, "--version"], capture_output=True, text=True, timeout=_VERSION_S, check=False, env={}
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.search(r"\d+(\.\d+)+", said)
    return tuple(map(int, found[0].split("."))) if found else ()


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
