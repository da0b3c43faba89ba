"""Sizes in bytes as text."""

import re

KIB, MIB, GIB = 1024, 1024**2, 1024**3
_UNITS = {
    "": 1, "b": 1, "k": KIB, "kb": KIB, "kib": KIB, "m": MIB, "mb": MIB, "mib": MIB, "g": GIB, "gb": GIB, "gib": GIB,
}  # fmt: skip
_SIZE = re.compile(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*([A-Za-z]{0,3})\s*")


def read_size(text: str) -> int:
    """Return the bytes of "512 MiB", "1.5G" or "4096"; MB is MiB here.

    Raises:
        ValueError: it is no size.
    """
    match = _SIZE.fullmatch(text)
    unit = None if match is None else _UNITS.get(match[2].lower())
    if match is None or unit is None:
        raise ValueError(f'"{text[:40]}" is no size; write "256 MiB", "1 GiB" or a number of bytes')
    return int(float(match[1]) * unit)


def show_size(size: int) -> str:
    """Return a size in the largest unit that it has one of: `256 MiB`, `1.5 GiB`."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f}".removesuffix(".0") + f" {name}"
    return str(size)
