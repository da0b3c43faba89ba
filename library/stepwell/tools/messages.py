"""Text that came from elsewhere, made harmless for people, terminals and models."""

import unicodedata

from stepwell.errors import ToolFailure
from stepwell.tools.redaction import hide

MESSAGE_CHARS = 2000
EXCERPT_CHARS = 500
_KEPT = frozenset("\n\t")
# Control, format (bidirectional overrides, invisible tags), surrogate; line and paragraph separators.
_DROPPED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def clean(text: str, limit: int = MESSAGE_CHARS) -> str:
    """Return the text without secrets, control, format and surrogate characters, at most `limit` characters long."""
    shown = hide(text[: 4 * limit])
    kept = "".join(c for c in shown[: 2 * limit] if c in _KEPT or unicodedata.category(c) not in _DROPPED).strip()
    return kept if len(kept) <= limit and len(text) <= 2 * limit else kept[: limit - 1] + "…"


def excerpt(data: bytes) -> str:
    """Return the first 500 characters of an answer's body, decoded with replacement and made harmless."""
    return clean(data[: 8 * EXCERPT_CHARS].decode("utf-8", "replace"), EXCERPT_CHARS)


def failure(tool: str, message: str, *, code: str, retryable: bool = False, hint: str = "") -> ToolFailure:
    """Return the error of a tool with bounded, harmless texts."""
    return ToolFailure(clean(message), tool=tool, code=code, retryable=retryable, hint=clean(hint))


def invalid(tool: str, message: str, *, hint: str = "") -> ToolFailure:
    """Return the error of arguments that the caller must change."""
    return failure(tool, message, code="invalid_arguments", hint=hint)
