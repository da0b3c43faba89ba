"""The answer to one call of a guest."""

from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Raw

from stepwell.errors import RequestError, ToolFailure
from stepwell.model import Json, JsonObject
from stepwell.ports.frames import Failure

NULL = b"null"
MAX_DEPTH = 256
"""Nested lists and objects in an answer: how many Python can go through by recursion depends on its version."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A value or a failure, encoded."""

    value: bytes | None = NULL
    """Codec JSON."""
    failure: Failure | None = None

    @property
    def raw(self) -> Raw | None:
        """The value as it goes into a frame."""
        return None if self.failure is not None or self.value is None else Raw(self.value)

    @property
    def error(self) -> str | None:
        """The failure as it is kept in the journal."""
        return None if self.failure is None else msgspec.json.encode(self.failure).decode()


def give(value: Json) -> Answer:
    """Answer with plain JSON."""
    return Answer(encode_plain(value))


def tool_answered(tool: str, value: Json) -> Answer:
    """Answer with what a tool has given: the call was made, so whatever it is, it is an answer."""
    try:
        try:
            return give(value)
        except UnicodeEncodeError:
            return give(_mended(value))
    except RecursionError:
        message = f"{tool}: the call was made, and its answer is nested too deeply to be kept"
        return refuse("ToolError", message, "bad_answer", tool=tool, retryable=False)


def _mended(value: Json) -> Json:
    """Replace halves of surrogate pairs, as programs leave them that cut texts by UTF-16."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {_mended(key): _mended(item) for key, item in value.items()}
    return value


def encode_plain(value: Json) -> bytes:
    """Return plain JSON as codec JSON: an object that happens to have the key `$` is escaped.

    Raises:
        RecursionError: it is nested deeper than `MAX_DEPTH`.
    """
    return msgspec.json.encode(_escape(value))


def _escape(value: Json, depth: int = 0) -> Json:
    if depth > MAX_DEPTH:
        raise RecursionError
    if isinstance(value, list):
        return [_escape(item, depth + 1) for item in value]
    if isinstance(value, dict):
        if "$" in value:
            return {"$": "dict", "v": [[key, _escape(item, depth + 1)] for key, item in value.items()]}
        return {key: _escape(item, depth + 1) for key, item in value.items()}
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 63:
        return {"$": "int", "v": str(value)}
    return value


def refuse(kind: str, message: str, code: str, **attributes: Any) -> Answer:
    """Answer with an exception of the authoring API or a builtin one."""
    payload = {"d": attributes} if attributes else None
    return Answer(None, Failure(kind, message, code, payload=payload))


def tool_failed(error: ToolFailure) -> Answer:
    """Answer with a `ToolError`."""
    message = f"{error.message} {error.hint}".strip()
    return refuse("ToolError", message, error.code, tool=error.tool, retryable=error.retryable)


def refused(error: RequestError, kind: str = "ValueError") -> Answer:
    """Answer that the request itself was wrong."""
    return refuse(kind, f"{error.message.rstrip('.')}. {error.hint}".strip(), error.code)


def child_answer(workflow: str, child_id: str, decision: JsonObject) -> Answer:
    """Answer with how a child workflow ended."""
    if decision.get("status") in ("completed", "terminated"):
        return Answer(decision["output"].encode() if decision.get("output") else b"null")
    error: JsonObject = decision.get("error") or {}
    message = f"workflow {workflow!r} {decision.get('status', 'failed')}: {error.get('type')}: {error.get('message')}"
    code = str(error.get("code") or "child_failed")
    return refuse("ChildFailed", message[:4000], code, workflow=workflow, run_id=child_id)
