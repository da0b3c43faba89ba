"""Transactions of a store, counted from outside: the frames of its write-ahead log that end one.

With `synchronous = FULL` each of them is one `fsync`. Format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

import struct
from pathlib import Path

HEADER = struct.Struct(">8I")
"""magic, format, page size, checkpoint number, two salts, two checksums."""
FRAME = struct.Struct(">6I")
"""page number, size of the database after a commit or 0, two salts, two checksums."""


def count_commits(database: Path) -> int:
    """Return how many transactions the log holds; it starts anew some time after a checkpoint."""
    log = Path(f"{database}-wal").read_bytes()
    if len(log) < HEADER.size:
        return 0
    _, _, page, _, *salts = HEADER.unpack_from(log)[:6]
    commits = 0
    for at in range(HEADER.size, len(log) - FRAME.size + 1, FRAME.size + page):
        _, size, *found = FRAME.unpack_from(log, at)[:4]
        if found != salts:
            break  # from an earlier round of the log
        commits += size > 0
    return commits
