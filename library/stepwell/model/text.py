"""Text of a workflow, made harmless for terminals, logs and models."""

import re

_HARMFUL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Controls but newline and tab, changes of direction, line separators, invisible tags, lone surrogates."""


def clean_text(text: str) -> str:
    """Return the text with every harmful character as its Python escape."""
    return text if text.isprintable() else _HARMFUL.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def cut_text(text: str, max_bytes: int) -> str:
    """Return as much of the start of `text` as fits into `max_bytes` of UTF-8."""
    return text.encode("utf-8", "replace")[:max_bytes].decode("utf-8", "ignore")
