"""Where what happens inside an agent's call stands in the journal. Only the host makes such keys.

`research` is the call; `research!agent/plan` what it was made from; `research!agent/t2` the model's second turn;
`research!agent/t2/1` the first tool that this turn called; `research!more1` the guest's next call with results.
"""

import re
from collections.abc import Iterable, Sequence

from stepwell.store.journal import Entry

INSIDE = "!agent/"
MORE = re.compile(r"(.+)!more(\d+)", re.DOTALL)
TURN = re.compile(r"t(\d+)")
LAST_TURN = frozenset({"refused", "truncated", "context_window", "invalid_output"})
"""Failures that are the newest turn's: one that is tried anew begins with that turn."""


def split_key(key: str) -> tuple[str, int]:
    """Return the key of the agent's first call, and how often the guest came back."""
    match = MORE.fullmatch(key)
    return (match[1], int(match[2])) if match else (key, 0)


def turn_key(base: str, n: int) -> str:
    """Return the key of a turn, 1 the first."""
    return f"{base}{INSIDE}t{n}"


def is_inside(key: str) -> bool:
    """Whether the key is of something inside an agent's call."""
    return INSIDE in key


def to_take_back(entries: Sequence[Entry], failed: Iterable[tuple[Entry, str]]) -> list[Entry]:
    """Return what is forgotten besides, where agents' calls that failed with these codes are tried anew."""
    found: list[Entry] = []
    for entry, code in failed:
        if entry.kind != "agent":
            continue
        base, _ = split_key(entry.key)
        inside = [e for e in entries if e.key.startswith(f"{base}{INSIDE}")]
        found += [e for e in entries if e.kind == "agent" and e.key != entry.key and split_key(e.key)[0] == base]
        # What the host has under the agent's name may have been mended.
        found += [e for e in inside if e.kind == "plan"]
        if code in LAST_TURN:
            newest = max((_turn(e.key) for e in inside), default=0)
            found += [e for e in inside if newest and _turn(e.key) == newest]
    return found


def _turn(key: str) -> int:
    match = TURN.match(key.rpartition(INSIDE)[2])
    return int(match[1]) if match else 0
