"""When the body of a workflow may go on after a step."""

from typing import Any, Literal, get_args

Durability = Literal["group", "step"]
"""`group`: at once, its result is written within 20 ms; `step`: when its result is on disk."""
DURABILITIES: tuple[Durability, ...] = get_args(Durability)


def read_durability(given: Any) -> Durability:
    """Return what a module's options ask for.

    Raises:
        ValueError: it is none of them.
    """
    for known in DURABILITIES:
        if given == known:
            return known
    valid = " or ".join(f'"{known}"' for known in DURABILITIES)
    raise ValueError(f"durability is {valid}, not {given!r}")
