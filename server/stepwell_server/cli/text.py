"""Text for terminals. What a workflow, a client or a file has written is harmless in it."""

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from stepwell.model import Json
from stepwell.model.text import clean_text

_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]")
_GAP = "  "


def one_line(text: str, limit: int = 100) -> str:
    """Return the text on one line, cut to `limit` characters."""
    line = clean_text(" ".join(text[: 4 * limit].split()))
    return line if len(line) <= limit else line[: limit - 1] + "…"


def block(text: str, indent: str = "") -> str:
    """Return the text with its lines kept and indented, harmful characters escaped."""
    return "\n".join(indent + line for line in clean_text(text).split("\n"))


def to_json(value: Json, *, indent: int | None = None) -> str:
    """Return JSON in which nothing acts on a terminal: harmful characters are escapes."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, default=str)
    return _IN_JSON.sub(_escape, text)


def shown_value(value: Json) -> str:
    """Return a value for a person: text as it is, everything else as indented JSON."""
    return clean_text(value) if isinstance(value, str) else to_json(value, indent=2)


def short_value(value: Json, limit: int = 60) -> str:
    """Return a value on one line."""
    return one_line(to_json(value), limit)


def columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the rows as aligned lines; the last column is not padded."""
    table = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def moment(seconds: float | None) -> str:
    """Return unix seconds as local date and time."""
    if seconds is None:
        return "-"
    try:
        return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "beyond the calendar"


def duration(seconds: float | None) -> str:
    """Return a duration with the precision a person needs."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{max(seconds, 0):.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} days"


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
