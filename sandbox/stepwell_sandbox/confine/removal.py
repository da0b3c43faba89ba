"""Delete what a hostile process has left."""

import os
from pathlib import Path


def remove_tree(path: str | Path) -> None:
    """Delete a directory that nobody writes to any more, however deep it is and whatever its modes.

    Directories are moved up before they are emptied, so neither the stack nor the length of a path grows.
    """
    try:
        os.chmod(path, 0o700)
        top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        moved = 0
        while folders := _unlink_files(top):
            for name in folders:
                moved = _lift(top, name, moved)
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(path)


def _unlink_files(fd: int) -> list[str]:
    """Delete what is no directory and return the names of what is."""
    folders: list[str] = []
    with os.scandir(fd) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=fd)
    return folders


def _lift(top: int, name: str, moved: int) -> int:
    """Empty the directory `name` by moving its directories into `top`; return the count of moves so far."""
    os.chmod(name, 0o700, dir_fd=top)
    fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
    try:
        for inner in _unlink_files(fd):
            os.chmod(inner, 0o700, dir_fd=fd)
            moved += 1
            os.rename(inner, f".lifted-{os.getpid()}-{moved}", src_dir_fd=fd, dst_dir_fd=top)
    finally:
        os.close(fd)
    return moved
