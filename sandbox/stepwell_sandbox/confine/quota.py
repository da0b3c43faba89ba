"""Measure a scratch directory that a hostile process is writing to."""

import errno
import os

_GONE = (errno.ENOENT, errno.ENOTDIR)
_BLOCK = 512  # bytes; the unit of st_blocks


def over_quota(path: str, max_bytes: int, max_files: int) -> bool:
    """Say whether a tree holds more; links are not followed, and it stops as soon as a limit is passed.

    What cannot be measured counts as over: a directory without permissions or a path too long for the kernel.
    """
    size = files = 0
    pending = [path]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    files += 1
                    size += entry.stat(follow_symlinks=False).st_blocks * _BLOCK
                    if size > max_bytes or files > max_files:
                        return True
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except OSError as error:
            if error.errno not in _GONE:
                return True
    return False
