"""Copies of Python sources together with what they compile to, so that no start of a sandbox compiles them again."""

import importlib.util
import py_compile
import shutil
import struct
import sys
from contextlib import suppress
from pathlib import Path

_HEADER = struct.Struct("<4sIII")
"""Of a compiled file: magic number, flags, time and size of its source."""


def copy_code(source: Path, target: Path) -> None:
    """Copy a module, or a folder with all of its modules and other files."""
    if not source.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy_file(source, target)
        return
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.name != "__pycache__":
            copy_code(path, target / path.name)


def _copy_file(source: Path, target: Path) -> None:
    shutil.copy2(source, target)  # with its time, by which the compiled file is recognised
    if source.suffix != ".py":
        return
    compiled = Path(importlib.util.cache_from_source(str(source)))
    if not _is_current(compiled, source) and not sys.dont_write_bytecode:
        # As an import would do it; where it cannot be written, every start compiles.
        with suppress(OSError, py_compile.PyCompileError):
            py_compile.compile(str(source), doraise=True)
    if _is_current(compiled, source):
        cached = Path(importlib.util.cache_from_source(str(target)))
        cached.parent.mkdir(exist_ok=True)
        shutil.copyfile(compiled, cached)


def _is_current(compiled: Path, source: Path) -> bool:
    state = source.stat()
    try:
        with compiled.open("rb") as file:
            header = file.read(_HEADER.size)
    except OSError:
        return False
    expected = (importlib.util.MAGIC_NUMBER, 0, int(state.st_mtime) & 0xFFFFFFFF, state.st_size & 0xFFFFFFFF)
    return len(header) == _HEADER.size and _HEADER.unpack(header) == expected
