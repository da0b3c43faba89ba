"""How a zygote is started at each level: the command, and the plan it follows."""

import os
from dataclasses import dataclass
from pathlib import Path

from stepwell.ports.sandbox import Limits
from stepwell_sandbox.bubblewrap import find_bubblewrap
from stepwell_sandbox.confine.plan import Plan
from stepwell_sandbox.interpreter import ENVIRONMENT, NOBODY, OPTIONS, Interpreter, readable_by_others
from stepwell_sandbox.scratch import GUEST_CODE, Folder
from stepwell_sandbox.starter import Program

_CODE_INSIDE, _RUNS_INSIDE, _PACKAGES_INSIDE = "/stepwell", "/scratch", "/packages"
SCRATCH_MOUNTS = 128
"""Made beforehand for children that can make none. Each bounds what one writes, also to files deleted while open."""
_TMP = "/tmp"  # noqa: S108  inside the sandbox
_LAST = ("--remount-ro", "/", "--chdir", "/")
_IMPORT_ZYGOTE = (
    "import sys; sys.path.append(sys.argv[1]); from stepwell_sandbox.zygote import main; main(int(sys.argv[2]))"
)


@dataclass(frozen=True, slots=True)
class Level:
    """One rung of the ladder of isolation."""

    name: str
    bubblewrap: bool
    own_namespaces: bool
    landlock: bool
    paths: bool
    """Guests can open files at all."""


LEVELS = {
    level.name: level
    for level in (
        Level("A", bubblewrap=True, own_namespaces=True, landlock=True, paths=True),
        Level("A2", bubblewrap=True, own_namespaces=False, landlock=True, paths=True),
        Level("B", bubblewrap=False, own_namespaces=False, landlock=True, paths=True),
        Level("C", bubblewrap=False, own_namespaces=False, landlock=False, paths=False),
    )
}
"""Strongest first."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What is needed to start a zygote."""

    program: Program
    plan: Plan


def prepare(
    level: Level,
    interpreter: Interpreter,
    folder: Folder,
    control_fd: int,
    packages: Path | None = None,
    scratch_bytes: int = Limits().scratch_bytes,
) -> Launch:
    """Return the launch of a zygote that takes its requests on `control_fd`.

    `scratch_bytes` is the most that a run may ask for.

    Raises:
        OSError: the level needs bubblewrap and there is none that may be used.
    """
    code = code_path(level, folder)
    plan = Plan(
        own_namespaces=level.own_namespaces,
        landlock=level.landlock,
        paths=level.paths,
        hidden_files=level.bubblewrap,
        readable=_readable(level, interpreter, folder, code, packages),
        hidden=() if level.bubblewrap else interpreter.site,
        private_scratch=_private_scratch(interpreter),
        scratch_root=_scratch_root(level, folder),
        packages=_packages_path(level, packages),
        scratch_mounts=SCRATCH_MOUNTS if level.bubblewrap and not level.own_namespaces else 0,
    )
    python = (interpreter.executable, *OPTIONS, "-c", _IMPORT_ZYGOTE, code, str(control_fd))
    user = NOBODY if drops_root(interpreter, folder) else None
    if not level.bubblewrap:
        return Launch(Program(python, ENVIRONMENT, user), plan)
    bwrap = find_bubblewrap()
    if bwrap is None:
        raise FileNotFoundError("bubblewrap (bwrap) is not installed")
    if bwrap.refusal:
        raise PermissionError(bwrap.refusal)
    mounts = _scratch_mounts(plan.scratch_mounts, scratch_bytes)
    command = (bwrap.path, *_bwrap_options(level, interpreter, folder, packages), *mounts, *_LAST, "--", *python)
    return Launch(Program(command, {}, user), plan)


def code_path(level: Level, folder: Folder) -> str:
    """Return where guests of this level find our code."""
    return _CODE_INSIDE if level.bubblewrap else str(folder.code)


def drops_root(interpreter: Interpreter, folder: Folder) -> bool:
    """Say whether a server of root runs its guests as nobody, which the interpreter's place must allow."""
    return os.geteuid() == 0 and interpreter.open_to_all and readable_by_others(folder.code)


def _private_scratch(interpreter: Interpreter) -> str:
    """Return a directory that hides nothing when it is mounted over: an interpreter may be installed under /tmp."""
    needed = (interpreter.executable, *interpreter.shared)
    return _RUNS_INSIDE if any(path.startswith(f"{_TMP}/") for path in needed) else _TMP


def _scratch_root(level: Level, folder: Folder) -> str:
    if level.own_namespaces or not level.paths:
        return ""
    return _RUNS_INSIDE if level.bubblewrap else str(folder.runs)


def _packages_path(level: Level, packages: Path | None) -> str:
    return "" if packages is None else _PACKAGES_INSIDE if level.bubblewrap else str(packages)


def _readable(
    level: Level, interpreter: Interpreter, folder: Folder, code: str, packages: Path | None
) -> tuple[str, ...]:
    own = tuple(f"{code}/{name}" for name in (*GUEST_CODE, *folder.extra))
    if packages is not None:
        # Their compiled modules need the libraries of the system.
        return (*interpreter.shared, *interpreter.libraries, *own, _packages_path(level, packages))
    if level.bubblewrap:
        return (*interpreter.shared, *own)
    zones = ("/usr/share/zoneinfo",) if os.path.isdir("/usr/share/zoneinfo") else ()
    return (*interpreter.libraries, *zones, *own)


def _bwrap_options(level: Level, interpreter: Interpreter, folder: Folder, packages: Path | None) -> list[str]:
    options = [
        "--unshare-user",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup-try",
    ]
    options += ["--die-with-parent", "--new-session", "--hostname", "sandbox", "--cap-drop", "ALL"]
    options += ["--cap-add", "CAP_SYS_ADMIN"] if level.own_namespaces else ["--disable-userns"]
    options.append("--clearenv")
    for name, value in ENVIRONMENT.items():
        options += ["--setenv", name, value]
    # First, so that what is bound below it stays visible: an interpreter may be installed under /tmp.
    options += ["--dir", _TMP, "--dir", _RUNS_INSIDE]
    for path in interpreter.shared:
        options += ["--symlink", os.readlink(path), path] if Path(path).is_symlink() else ["--ro-bind", path, path]
    if not any(interpreter.executable.startswith(path + "/") for path in interpreter.shared):
        options += ["--ro-bind", interpreter.executable, interpreter.executable]
    for path in interpreter.site:
        options += ["--tmpfs", path, "--remount-ro", path]
    options += ["--ro-bind", str(folder.code), _CODE_INSIDE]
    if packages is not None:
        options += ["--ro-bind", str(packages), _PACKAGES_INSIDE]
    for device in ("/dev/null", "/dev/urandom"):
        options += ["--dev-bind", device, device]
    return options


def _scratch_mounts(count: int, size: int) -> list[str]:
    return [word for n in range(count) for word in ("--size", str(size), "--tmpfs", f"{_RUNS_INSIDE}/{n}")]
