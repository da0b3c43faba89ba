"""Seatbelt, the sandbox of macOS: its profile, its program, and what its refusals mean.

Written to documented facts and not tried on a Mac: what Linux can test of it is tested, the rest is not.
"""

from pathlib import Path

from stepwell_sandbox.interpreter import Interpreter

NAME = "seatbelt"
"""As a level. It counts as B: no contents of files, no network, no processes; no mounts and namespaces of its own."""
ACCEPTED_FOR = ("B", "C", "none")
"""The levels asked for that it satisfies."""
PROGRAM = "/usr/bin/sandbox-exec"
LOADER_PATHS = (
    "/usr/lib",
    "/System/Library",
    "/System/Volumes/Preboot/Cryptexes/OS",
    "/private/var/db/dyld",
    "/private/var/db/timezone",
    "/usr/share/zoneinfo",
    "/usr/share/locale",
    "/Library/Apple/System/Library",
)
"""Read by every program at its start, before it is asked to do anything."""
DEVICES = ("/dev/null", "/dev/random", "/dev/urandom", "/dev/zero")
SYSTEM_VALUES = (
    "hw.activecpu", "hw.cachelinesize", "hw.cputype", "hw.cpusubtype", "hw.logicalcpu", "hw.machine", "hw.memsize",
    "hw.ncpu", "hw.pagesize", "hw.pagesize_compat", "hw.physicalcpu", "kern.argmax", "kern.maxfilesperproc",
    "kern.osproductversion", "kern.osrelease", "kern.ostype", "kern.osvariant_status", "kern.usrstack64",
    "kern.version", "vm.loadavg",
)  # fmt: skip
"""What Python and its standard library ask for; `kern.hostname` and the list of processes are not among it."""
_REFUSED = "sandbox_apply"
_NOT_PERMITTED = "Operation not permitted"


def profile(interpreter: Interpreter, code: Path) -> str:
    """Return the profile of one process; its scratch directory is the parameter SCRATCH.

    The last rule that matches decides, so what must hold whatever comes before is said at the end.
    """
    readable = (*interpreter.libraries, *interpreter.shared, *LOADER_PATHS, str(code))
    names = "\n".join(f"  (sysctl-name {_quoted(name)})" for name in SYSTEM_VALUES)
    lines = [
        "(version 1)",
        "(deny default)",
        f"(allow process-exec* (literal {_quoted(interpreter.executable)}))",
        f"(allow file-read* (literal {_quoted(interpreter.executable)}))",
        *(f"(allow file-read* (subpath {_quoted(path)}))" for path in dict.fromkeys(readable)),
        *(f"(allow file-read-metadata (literal {_quoted(path)}))" for path in _ancestors(readable)),
        '(allow file-read-metadata (path-ancestors (param "SCRATCH")))',
        '(allow file-read* file-write* (subpath (param "SCRATCH")))',
        *(f"(allow file-read* (literal {_quoted(path)}))" for path in DEVICES),
        '(allow file-write-data (literal "/dev/null"))',
        f"(allow sysctl-read\n{names})",
        "(allow signal (target self))",
        "(allow process-info* (target self))",
        *(f"(deny file-read* (subpath {_quoted(path)}))" for path in interpreter.site),
        '(deny file-link (subpath "/"))',
        "(deny process-fork)",
        "(deny network*)",
        "(deny mach-lookup)",
        "(deny ipc-posix-shm*)",
        "(deny system-socket)",
    ]
    return "\n".join(lines) + "\n"


def command(text: str, scratch: Path, python: tuple[str, ...], program: str = PROGRAM) -> tuple[str, ...]:
    """Return what starts `python` under the profile `text`. A path is a parameter: no name can end the profile's."""
    return (program, "-p", text, "-D", f"SCRATCH={scratch.resolve()}", *python)


def explain(said: str) -> str:
    """Return why a process did not start, from what `sandbox-exec` wrote."""
    if _REFUSED in said and _NOT_PERMITTED in said:
        return (
            "this process is inside another macOS sandbox, and Seatbelt cannot be nested (sandbox_apply: "
            "Operation not permitted); start the server outside of it"
        )
    return said or "it ended without a word"


def _ancestors(paths: tuple[str, ...]) -> list[str]:
    """Return the folders above, which are looked up but not read."""
    above = {str(parent) for path in paths for parent in Path(path).parents}
    return sorted(above)


def _quoted(text: str) -> str:
    """Return a string of the profile's language.

    Raises:
        ValueError: it has a character that the language has no way to write.
    """
    if any(ord(character) < 0x20 for character in text):
        raise ValueError(f"a path of the interpreter has a control character: {text!r}")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
