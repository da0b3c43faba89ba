"""The Python that guests run on, and the paths it needs."""

import os
import stat
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

NOBODY = 65534
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/nonexistent",
    "TZ": "UTC",
    "LC_ALL": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "MALLOC_ARENA_MAX": "2",
    "OPENBLAS_NUM_THREADS": "1",
}
"""All that a guest has. Two malloc arenas: each reserves 64 MiB of the address space that is limited."""

OPTIONS = ("-s", "-P", "-S", "-B")
"""Not `-I`, which would ignore the hash seed."""

_SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache")

PRELOADED = """
json asyncio typing datetime re dataclasses collections itertools functools math statistics random decimal
fractions uuid hashlib hmac base64 textwrap string enum pathlib io csv time urllib.parse html contextlib copy
operator heapq bisect zoneinfo traceback inspect types struct threading concurrent.futures ctypes secrets
difflib unicodedata calendar abc numbers tempfile shutil warnings queue sqlite3 lzma bz2 zlib gzip zipfile
tarfile xml.etree.ElementTree binascii array mmap cmath email.message http.client urllib.request ssl getpass
locale gettext pprint reprlib shlex fnmatch glob graphlib ipaddress configparser tomllib unittest.mock logging
logging.handlers contextvars weakref stat codecs encodings.idna _posixshmem resource fcntl termios select
_elementtree pyexpat _lsprof _multibytecodec multiprocessing.shared_memory linecache _strptime
"""
"""Loaded before guests are forked: the C extensions among them cannot be loaded later at level B."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A base interpreter, without the virtual environment it may be used from."""

    executable: str
    libraries: tuple[str, ...]
    """Its standard library, with its platform's part."""
    shared: tuple[str, ...]
    """Where it and its extensions load shared objects from."""
    site: tuple[str, ...]
    """Installed packages inside those, which no guest sees."""

    @property
    def open_to_all(self) -> bool:
        """Whether a user without rights can run it."""
        return all(readable_by_others(path) for path in (self.executable, *self.libraries))


def find_interpreter() -> Interpreter:
    """Return the base interpreter of this process."""
    executable = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    paths = sysconfig.get_paths()
    libraries = tuple(dict.fromkeys(os.path.realpath(paths[name]) for name in ("stdlib", "platstdlib")))
    prefix = Path(executable).parent.parent
    candidates = [str(prefix / "lib"), *libraries, *_SYSTEM]
    if executable.startswith("/nix/store/"):
        candidates.append("/nix/store")
    shared = tuple(dict.fromkeys(path for path in candidates if os.path.exists(path)))
    folders = (str(path) for root in (prefix / "lib", Path("/usr/lib")) for path in root.glob("python3*"))
    site = [
        f"{folder}/{name}"
        for folder in dict.fromkeys((*libraries, *folders))
        for name in ("site-packages", "dist-packages")
    ]
    return Interpreter(
        executable,
        libraries,
        shared,
        tuple(dict.fromkeys(os.path.realpath(path) for path in site if os.path.isdir(path))),
    )


def readable_by_others(path: str | Path) -> bool:
    """Say whether any user may read this path and pass all folders above it."""
    resolved = Path(path).resolve()
    mode = resolved.stat().st_mode
    needed = stat.S_IROTH | (stat.S_IXOTH if resolved.is_dir() else 0)
    return mode & needed == needed and all(parent.stat().st_mode & stat.S_IXOTH for parent in resolved.parents)
