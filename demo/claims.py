"""What the demo says on screen is checked before it is said."""

from typing import Any


class NotAsClaimed(Exception):
    """Something differs from what the demo was about to show."""


def check(claim: str, found: Any, wanted: Any) -> None:
    """Compare.

    Raises:
        NotAsClaimed: they differ; the message shows both.
    """
    if found != wanted:
        raise NotAsClaimed(f"{claim}\n  found:  {found!r}\n  wanted: {wanted!r}")
