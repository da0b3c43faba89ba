"""Copies that any user of this machine can run: the code, the tests, and interpreters with what they need."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
OLDEST, NEWEST = 11, 14
CODE = ("library/stepwell", "sandbox/stepwell_sandbox")
TESTS = ("attacks.py", "attack_world.py", "confined.py", "isolation", "sandbox/escapes", "sandbox/guests")
_UNHIDE = """
mkdir "$1" && mount --bind "$2" "$1" && mount -t tmpfs -o mode=755 none "$3" && mkdir -p "$2" && mount --bind "$1" "$2"
shift 3
exec "$@"
"""


def unhidden(python: "Python", aside: Path) -> list[str]:
    """Return what starts a command where any user can read the interpreter, though its folder is closed to them."""
    if python.hidden_by is None:
        return []
    prefix = python.path.parent.parent
    return ["unshare", "--mount", "sh", "-c", _UNHIDE, "sh", str(aside), str(prefix), str(python.hidden_by)]


@dataclass(frozen=True, slots=True)
class Python:
    """An interpreter that is ready to run a trial."""

    name: str
    path: Path
    packages: Path

    @property
    def hidden_by(self) -> Path | None:
        """The folder that other users may not pass on their way to it."""
        return next((above for above in reversed(self.path.parents) if not above.stat().st_mode & 0o001), None)

    def environment(self, code: Path) -> dict[str, str]:
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": os.pathsep.join([str(code), str(code / "tests"), str(self.packages)]),
            "PYTHONDONTWRITEBYTECODE": "1",
        }


class Stage:
    """A folder that all users can read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.chmod(0o755)
        self.code = folder / "code"
        for name in CODE:
            shutil.copytree(ROOT / name, self.code / Path(name).name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in TESTS:
            source, target = ROOT / "tests" / name, self.code / "tests" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(source, target)

    def pythons(self) -> list[Python]:
        """Return every usable version of Python that is found, this one first."""
        found: dict[str, Path] = {}
        candidates = [Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"]
        candidates += sorted(Path.home().glob(".pyenv/versions/*/bin/python3.1?"))
        candidates += [Path(path) for n in range(OLDEST, NEWEST + 1) if (path := shutil.which(f"python3.{n}"))]
        for path in candidates:
            minor = re.search(r"python3\.(\d+)$", path.name)
            real = path.resolve()
            if minor and OLDEST <= int(minor[1]) <= NEWEST and os.access(real, os.X_OK) and "shims" not in str(real):
                found.setdefault(f"3.{minor[1]}", real)
        return [python for name, path in found.items() if (python := self._ready(name, path))]

    def _ready(self, name: str, path: Path) -> Python | None:
        packages = self.folder / f"packages-{name}"
        options = ["--quiet", "--disable-pip-version-check", "--no-warn-script-location"]
        installed = subprocess.run(
            [str(path), "-m", "pip", "install", *options, "--target", str(packages), "msgspec"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if installed.returncode:
            print(f"Python {name} is left out: {installed.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
            return None
        return Python(name, path, packages)
