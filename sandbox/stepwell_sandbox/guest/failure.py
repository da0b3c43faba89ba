"""Exceptions as data, and back."""

import builtins
import json
import traceback
import types
from typing import Any

from stepwell.sdk import codec, exceptions
from stepwell.sdk.classes import find_class
from stepwell.sdk.context import WORKFLOW_FILE

MAX_MESSAGE = 4000  # characters
MAX_TRACE = 8000
MAX_TYPE = 200
MAX_CAUSE = 500
MAX_CAUSES = 8
MAX_PAYLOAD = 256 * 1024  # characters of JSON; an exception with more comes back without what it held
MAX_GROUPS = 6  # groups in groups; each takes three of the 64 levels of a frame
MAX_LINE = 2**31
OWN = ("ToolError", "AgentError", "ChildFailed", "ApprovalDenied", "StepError")
PLAIN_CODE = "workflow_error"

# What builtin exceptions hold beside their args.
_FIELDS: dict[type[BaseException], tuple[str, ...]] = {
    ImportError: ("name", "path"),
    NameError: ("name",),
    AttributeError: ("name",),
}
_MISSING: Any = object()


def describe(error: BaseException, level: int = 0) -> dict[str, Any]:
    """Return the failure as it goes to the host (`frames.Failure`); `level` counts the groups around it."""
    failure: dict[str, Any] = {
        "code": _code(error),
        "line": _line(error),
        "cause": _causes(error),
        "traceback": _trace(error),
        "payload": _payload(error, level),
    }
    if (step := _own(error).get("__stepwell_step__")) is not None:
        failure["step"], failure["attempt"] = step
    named = {"type": _type_name(error), "message": _message(error)}
    return {name: value for name, value in failure.items() if value not in (None, [], "")} | named


def rebuild(failure: dict[str, Any]) -> BaseException:
    """Return an exception equal to the described one: its class, text, attributes, notes and causes.

    Where its class cannot be found or gives another text, it is a `StepError` of the same text.
    """
    payload: dict[str, Any] = failure.get("payload") or {}
    try:
        error = _built(failure, payload)
    except Exception:  # noqa: BLE001  the author's class, or one whose arguments were not stored
        error = None
    if error is None:
        error = exceptions.StepError(_text(failure, payload), type_name=failure["type"], code=failure.get("code", ""))
    own = _own(error)
    if failure.get("step"):
        own["__stepwell_step__"] = (failure["step"], failure.get("attempt", 1))
    if "n" in payload:
        own["__notes__"] = codec.decode(payload["n"], find_class)
    if _code(error) != failure.get("code", PLAIN_CODE):
        own["code"] = failure.get("code", PLAIN_CODE)
    if failure.get("cause"):
        error.__cause__ = _cause(failure["cause"])
    return error


def _text(failure: dict[str, Any], payload: dict[str, Any]) -> str:
    return payload.get("m", failure["message"])


def _built(failure: dict[str, Any], payload: dict[str, Any]) -> BaseException | None:
    """Return the exception, or None if it would not be the same."""
    cls = _class(failure["type"], payload)
    if cls is None:
        return None
    if "e" in payload:
        args: tuple[Any, ...] = (codec.decode(payload["a"], find_class)[0], [rebuild(item) for item in payload["e"]])
    else:
        args = tuple(codec.decode(payload["a"], find_class)) if "a" in payload else (failure["message"],)
    # Not through the author's __new__ and __init__, whose parameters need not be the exception's args; but through
    # the builtin ones, which set what builtin exceptions hold beside their args.
    base: Any = codec.builtin_base(cls)
    error: BaseException = base.__new__(cls, *args)
    base.__init__(error, *args)
    attributes: dict[str, Any] = codec.decode(payload.get("d", {}), find_class)
    for own in (exceptions.ToolError, exceptions.AgentError, exceptions.ChildFailed, exceptions.ApprovalDenied):
        if issubclass(cls, own):
            attributes = vars(own()) | {"code": failure.get("code", "")} | attributes
    outside = _outside_dict(cls)
    for name, value in attributes.items():
        if name in outside:
            object.__setattr__(error, name, value)
        else:
            _own(error)[name] = value
    return error if type(error) is cls and _message(error) == _text(failure, payload) else None


def _class(name: str, payload: dict[str, Any]) -> type[BaseException] | None:
    if "c" in payload:
        found: Any = find_class(payload["c"])
    else:  # a failure that the host made
        found = getattr(exceptions, name, None) if name in OWN else getattr(builtins, name, None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


def _cause(texts: list[str]) -> BaseException | None:
    cause = None
    for text in reversed(texts):
        name, _, message = text.partition(": ")
        error = exceptions.StepError(message, type_name=name)
        error.__cause__ = cause
        cause = error
    return cause


def _payload(error: BaseException, level: int) -> dict[str, Any]:
    message = _message(error)
    payload: dict[str, Any] = {"c": _clean(codec.class_name(type(error)))}
    if not message.replace("\n", "").replace("\t", "").isprintable():
        payload["m"] = message  # the host keeps control characters as escapes
    full = payload | _content(error, level, message)
    return full if len(json.dumps(full)) <= MAX_PAYLOAD else payload | {"a": [message]}


def _content(error: BaseException, level: int, message: str) -> dict[str, Any]:
    content: dict[str, Any] = {"a": _stored(_args(error), [message])}
    if isinstance(error, BaseExceptionGroup) and level < MAX_GROUPS:
        group: BaseExceptionGroup[BaseException] = error
        members = [describe(member, level + 1) for member in group.exceptions]
        content["e"] = [{name: item for name, item in member.items() if name != "traceback"} for member in members]
    stored = {name: _stored(value, _MISSING) for name, value in _attributes(error).items()}
    if kept := {name: item for name, item in stored.items() if item is not _MISSING}:
        content["d"] = kept
    notes = _own(error).get("__notes__")
    if isinstance(notes, list) and notes:
        content["n"] = _stored(notes, [])
    return content


def _stored(value: Any, otherwise: Any) -> Any:
    try:
        return codec.encode(value)
    except codec.CodecError:
        return otherwise


def _args(error: BaseException) -> list[Any]:
    if isinstance(error, BaseExceptionGroup):
        return [error.message]
    if isinstance(error, OSError):
        reduced: Any = OSError.__reduce__(error)  # its args are without the names of files
        return list(reduced[1])
    return list(error.args)


def _attributes(error: BaseException) -> dict[str, Any]:
    attributes = {name: getattr(error, name, None) for name in _outside_dict(type(error))} | _own(error)
    return {
        name: value
        for name, value in attributes.items()
        if name.isidentifier() and not name.startswith("__") and (value is not None or name in _own(error))
    }


def _outside_dict(cls: type) -> set[str]:
    """Return the attributes that instances keep elsewhere: slots, and what builtin exceptions take by keyword."""
    names = {name for base, fields in _FIELDS.items() if issubclass(cls, base) for name in fields}
    for base in cls.__mro__:
        if base.__module__ != "builtins":
            names |= {name for name, item in vars(base).items() if isinstance(item, types.MemberDescriptorType)}
    return names


def _own(error: BaseException) -> dict[str, Any]:
    found: dict[str, Any] = object.__getattribute__(error, "__dict__")  # the author's class may have its own lookup
    return found


def _type_name(error: BaseException) -> str:
    name = error.type_name if isinstance(error, exceptions.StepError) else ""
    return _clean(str(name or type(error).__qualname__))[:MAX_TYPE]


def _message(error: BaseException) -> str:
    try:
        return _clean(str(error)[:MAX_MESSAGE])
    except Exception:  # noqa: BLE001  the author's __str__
        return "(its text could not be made)"


def _code(error: BaseException) -> str:
    try:
        return _clean(str(getattr(error, "code", None) or PLAIN_CODE)[:64])
    except Exception:  # noqa: BLE001  the author's property
        return PLAIN_CODE


def _clean(text: str) -> str:
    # Lone surrogates, of names of files for instance, do not fit into a frame.
    return text.encode("utf-8", "backslashreplace").decode()


def _causes(error: BaseException) -> list[str]:
    causes: list[str] = []
    cause = error.__cause__
    while cause is not None and len(causes) < MAX_CAUSES:
        causes.append(f"{_type_name(cause)}: {_message(cause)}"[:MAX_CAUSE])
        cause = cause.__cause__
    return causes


def _line(error: BaseException) -> int | None:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == WORKFLOW_FILE]
    if isinstance(error, SyntaxError) and error.filename == WORKFLOW_FILE:
        lines.append(error.lineno)
    line: Any = lines[-1] if lines else None
    return line if isinstance(line, int) and 0 < line < MAX_LINE else None


def _trace(error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == WORKFLOW_FILE]
    return _clean("".join(traceback.format_list(frames))[-MAX_TRACE:])
