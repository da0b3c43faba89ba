"""Answers to a client: compact JSON in one text block, and the same object as structured content."""

import json
import math
from typing import Any, cast

from mcp.types import CallToolResult, TextContent

from stepwell.errors import StepwellError
from stepwell.model import Json, JsonObject

MAX_RESULT = 20_000  # bytes of JSON; hosts show a model about 40,000 characters and cut the rest
ROOM = 1_500  # bytes kept for what stands around a list
SMALL = 1_000  # bytes of a member that need not be cut
KEPT = ("run_id", "status", "name", "version", "next", "source", "more")  # members that are never cut
MAX_MESSAGE = 1200  # characters of an error's message
MAX_HINT = 700


def reply(value: JsonObject, *, failed: bool = False) -> CallToolResult:
    """Return a tool's result; `failed` marks it as an error for the client. What is too large is cut, and says so."""
    text = dump(fit_members(value))
    return CallToolResult(
        content=[TextContent(type="text", text=text)], structured_content=json.loads(text), is_error=failed
    )


def error_reply(error: StepwellError) -> CallToolResult:
    """Return an error in the one form: `{"error": {type, code, message, hint}}`."""
    described = error.describe()
    described["message"] = shorten(str(described["message"]), MAX_MESSAGE)
    described["hint"] = shorten(str(described.get("hint", "")), MAX_HINT)
    return reply({"error": described}, failed=True)


def internal_error_reply() -> CallToolResult:
    """Return what a client is told of a defect of this server: nothing but that there is one."""
    return reply(
        {
            "error": {
                "type": "InternalError",
                "code": "internal_error",
                "message": "The server failed to answer this call. Details are in its log.",
                "hint": "Try once more; if it fails again, tell the user. Runs that were started are not lost.",
            }
        },
        failed=True,
    )


def dump(value: Json) -> str:
    """Return compact JSON that every reader takes: no NaN, no half surrogates."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        text = json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace").decode()


def fit_members(result: JsonObject, keep: tuple[str, ...] = KEPT) -> JsonObject:
    """Return the result with its largest members replaced by a note until it fits `MAX_RESULT`."""
    while size(result) > MAX_RESULT:
        largest = max((name for name in result if name not in keep), key=lambda name: size(result[name]), default=None)
        if largest is None or size(result[largest]) < SMALL:
            break
        note = {"cut": True, "bytes": size(result[largest]), "begins": shorten(dump(result[largest]), SMALL // 2)}
        result = result | {largest: note}
    return result


def fit_list(items: list[JsonObject]) -> tuple[list[JsonObject], int]:
    """Return the items that fit one result, and how many that is where it is not all, else 0."""
    left = MAX_RESULT - ROOM
    shown: list[JsonObject] = []
    for item in items:
        left -= size(item) + 1
        if left < 0 and shown:
            return shown, len(shown)
        shown.append(item)
    return shown, 0


def size(value: Json) -> int:
    """Return the bytes of the value's compact JSON."""
    return len(dump(value).encode())


def plain(value: Any, depth: int = 0) -> Json:
    """Return the value with everything that JSON does not have made into text or null."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth > 200:
        return "..."
    if isinstance(value, dict):
        return {str(key): plain(item, depth + 1) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item, depth + 1) for item in cast("list[Any]", value)]
    return str(value)


def shorten(text: str, limit: int) -> str:
    """Return the text, cut in the middle if it has more than `limit` characters."""
    if len(text) <= limit:
        return text
    head = limit * 3 // 4
    return f"{text[:head]} ... ({len(text):,} characters) ... {text[len(text) - (limit - head - 40) :]}"
