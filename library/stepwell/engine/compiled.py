"""What the sources of versions were compiled to, so that not every process of a version compiles it again.

It comes from the first process of a version, before any of its code has run, and goes to later ones of that version
alone. It is never read here: only a confined process may make code of it.
"""

from stepwell.model import Version
from stepwell.model.sizes import MIB
from stepwell.ports import Limits

KEPT_CHARACTERS = 16 * MIB
FRAME_BYTES, TOTAL_BYTES = 1 * MIB, 64 * MIB
"""The least limits of a run that is asked for it: its frame must not be what crosses them."""


class Codes:
    """By version, as many as there is room for, the newest."""

    def __init__(self) -> None:
        self._codes: dict[str, str] = {}
        self._size = 0

    def find(self, version: str) -> str:
        """Return what a version was compiled to, empty if that is not known."""
        return self._codes.get(version, "")

    def wants(self, version: Version, limits: Limits) -> bool:
        """Whether a process shall tell: not one with packages, which run before and could send what they like."""
        roomy = limits.frame_bytes >= FRAME_BYTES and limits.total_bytes >= TOTAL_BYTES
        return roomy and version.lock is None and version.hash not in self._codes

    def keep(self, version: str, code: str) -> None:
        """Keep it, unless there is one already."""
        if version in self._codes or len(code) > KEPT_CHARACTERS:
            return
        self._codes[version] = code
        self._size += len(code)
        while self._size > KEPT_CHARACTERS:
            self._size -= len(self._codes.pop(next(iter(self._codes))))
