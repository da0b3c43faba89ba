"""Durations as people write them: `30d`, `12h`, `90m`, `45s`, `2w`."""

import re

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}
_FORM = re.compile(r"([0-9]{1,6})([smhdw])")


def read_duration(text: str) -> float:
    """Return seconds.

    Raises:
        ValueError: it is no duration.
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'"{text[:40]}" is no duration; write a whole number and s, m, h, d or w, such as "30d"')
    return float(int(match[1]) * UNITS[match[2]])
