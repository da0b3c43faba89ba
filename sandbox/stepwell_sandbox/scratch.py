"""The folder of one sandbox on the host: the code its guests see, and their scratch directories."""

import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import stepwell
import stepwell_sandbox
from stepwell.model.locked_folders import make_locked, sweep_left
from stepwell_sandbox.code import copy_code
from stepwell_sandbox.confine.removal import remove_tree

PREFIX = "stepwell-"
GUEST_CODE = (
    "stepwell/__init__.py",
    "stepwell/compat",
    "stepwell/sdk",
    "stepwell_sandbox/__init__.py",
    "stepwell_sandbox/wire.py",
    "stepwell_sandbox/guest",
)
"""What a guest may read of our packages."""
ZYGOTE_CODE = (
    "stepwell_sandbox/zygote.py",
    "stepwell_sandbox/attempts.py",
    "stepwell_sandbox/probes.py",
    "stepwell_sandbox/plain_guest.py",
    "stepwell_sandbox/seatbelt_probes.py",
    "stepwell_sandbox/confine",
)
"""What runs before confinement; guests may not read it again."""


class Folder:
    """A locked folder of copies, so that a guest never sees the packages that lie beside ours.

    Blocking: make and remove it in a thread.
    """

    def __init__(self, root: Path | None, extra_code: Iterable[Path] = ()) -> None:
        parent = root or Path(tempfile.gettempdir())
        parent.mkdir(parents=True, exist_ok=True)
        sweep(parent)
        self.path, held = make_locked(parent, _prefix())
        self._lock: int | None = held
        self.code = self.path / "code"
        self.runs = self.path / "runs"
        self.extra = tuple(path.name for path in extra_code)
        try:
            self.path.chmod(0o711)
            self.runs.mkdir(mode=0o700)
            self._copy(extra_code)
        except OSError:  # the disk is full
            self.remove()
            raise

    def _copy(self, extra_code: Iterable[Path]) -> None:
        sources = {
            "stepwell": Path(stepwell.__file__).parent,
            "stepwell_sandbox": Path(stepwell_sandbox.__file__).parent,
        }
        for name in (*GUEST_CODE, *ZYGOTE_CODE):
            package, _, inside = name.partition("/")
            copy_code(sources[package] / inside, self.code / name)
        for path in extra_code:
            copy_code(path, self.code / path.name)
        for folder, _, files in os.walk(self.code):
            os.chmod(folder, 0o755)  # noqa: S103 - guests of another user read it
            for file in files:
                os.chmod(os.path.join(folder, file), 0o644)

    def share(self, packages: Path) -> Path:
        """Return a copy of packages that any user may read: guests of a server of root are somebody else."""
        target = self.path / "packages" / packages.parent.name
        if not target.exists():
            target.parent.mkdir(mode=0o755, exist_ok=True)
            shutil.copytree(packages, target.with_suffix(".new"))
            target.with_suffix(".new").rename(target)
        return target

    def remove(self) -> None:
        """Delete the folder and let go of its lock. Its guests must be dead."""
        _clear(self.path)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def sweep(parent: Path) -> None:
    """Delete the folders of this user whose server has died, but for those of which a guest is still dying."""
    sweep_left(parent, _prefix(), _clear)


def _prefix() -> str:
    return f"{PREFIX}{os.getuid()}-"


def _clear(path: Path) -> None:
    """Delete a folder, its lock last: what a process leaves that is killed meanwhile can be taken for dead at once."""
    for child in list(path.iterdir()):
        if child.is_dir() and not child.is_symlink():
            remove_tree(child)
    remove_tree(path)
