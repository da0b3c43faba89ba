"""Exceptions as data, and back."""

import builtins
import traceback
from typing import Any

from stepwell.sdk import codec, exceptions
from stepwell.sdk.context import WORKFLOW_FILE
from stepwell.sdk.step import find_class

MAX_MESSAGE = 4000  # characters
MAX_TRACE = 8000
MAX_CAUSES = 8
OWN = ("ToolError", "ChildFailed", "ApprovalDenied", "StepError")


def describe(error: BaseException) -> dict[str, Any]:
    """Return the failure as it goes to the host (`frames.Failure`)."""
    step = getattr(error, "__stepwell_step__", None)
    failure: dict[str, Any] = {
        "type": type(error).__qualname__,
        "message": _message(error),
        "code": str(getattr(error, "code", None) or "workflow_error")[:64],
        "line": _line(error),
        "cause": _causes(error),
        "traceback": _trace(error),
        "payload": _payload(error),
    }
    if isinstance(error, exceptions.StepError) and error.type_name:
        failure["type"] = error.type_name
    if step is not None:
        failure["step"], failure["attempt"] = step
    return {name: value for name, value in failure.items() if value not in (None, [], "")} | {
        "type": failure["type"],
        "message": failure["message"],
    }


def rebuild(failure: dict[str, Any]) -> BaseException:
    """Return an exception equal to the described one, as far as its class can be found."""
    error = _build(failure)
    if failure.get("step"):
        exceptions.mark_step(error, failure["step"], failure.get("attempt", 1))
    if failure.get("cause"):
        error.__cause__ = exceptions.StepError(failure["cause"][0])
    return error


def _build(failure: dict[str, Any]) -> BaseException:
    payload: dict[str, Any] = failure.get("payload") or {}
    cls: Any = find_class(payload["c"]) if "c" in payload else None
    if cls is None and "c" not in payload:
        cls = getattr(exceptions, failure["type"], None) if failure["type"] in OWN else None
        cls = cls or getattr(builtins, failure["type"], None)
    if not (isinstance(cls, type) and issubclass(cls, Exception)):
        return exceptions.StepError(
            f"{failure['type']}: {failure['message']}", type_name=failure["type"], code=failure.get("code", "")
        )
    # Not through __init__, whose parameters need not be the exception's args.
    error: Any = cls.__new__(cls)
    error.args = tuple(codec.decode(payload["a"], find_class)) if "a" in payload else (failure["message"],)
    attributes: dict[str, Any] = codec.decode(payload.get("d", {}), find_class)
    if issubclass(cls, (exceptions.ToolError, exceptions.ChildFailed, exceptions.ApprovalDenied)):
        attributes = {"code": failure.get("code", ""), **_defaults(cls), **attributes}
    error.__dict__.update(attributes)
    return error


def _defaults(cls: type) -> dict[str, Any]:
    return {key: value for key, value in vars(cls("")).items() if key != "code"}


def _payload(error: BaseException) -> dict[str, Any] | None:
    payload: dict[str, Any] = {"c": codec.class_name(type(error))}
    if type(error).__module__ == "builtins":
        payload["c"] = f"builtins:{type(error).__qualname__}"
    try:
        payload["a"] = codec.encode(list(error.args))
        extras = {key: value for key, value in vars(error).items() if not key.startswith("__")}
        if extras:
            payload["d"] = codec.encode(extras)
    except codec.CodecError:
        payload["a"] = [_message(error)]
    return payload


def _message(error: BaseException) -> str:
    try:
        return str(error)[:MAX_MESSAGE]
    except Exception:  # noqa: BLE001  the author's __str__
        return "(its text could not be made)"


def _causes(error: BaseException) -> list[str]:
    causes: list[str] = []
    cause = error.__cause__
    while cause is not None and len(causes) < MAX_CAUSES:
        causes.append(f"{type(cause).__qualname__}: {_message(cause)}"[:500])
        cause = cause.__cause__
    return causes


def _line(error: BaseException) -> int | None:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == WORKFLOW_FILE]
    if isinstance(error, SyntaxError) and error.filename == WORKFLOW_FILE:
        return error.lineno
    return lines[-1] if lines else None


def _trace(error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == WORKFLOW_FILE]
    return "".join(traceback.format_list(frames))[-MAX_TRACE:]
