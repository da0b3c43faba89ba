"""From hostile bytes to frames. What passes means the same to every later reader of it."""

from array import array
from itertools import accumulate

import msgspec
from msgspec import Struct

from stepwell.errors import ProtocolViolation
from stepwell.model.text import clean_text
from stepwell.ports.frames import (
    Call,
    Compiled,
    Diverged,
    Done,
    Drop,
    Failed,
    Failure,
    Fired,
    GuestFrame,
    Idle,
    Log,
    Mark,
    Note,
    Reached,
    Readings,
    Ready,
    Rested,
    Step,
    Terminated,
    Undone,
)

MAX_DEPTH = 64
MAX_NODES = 100_000
"""Values in one frame: with more, decoding one would hold up the event loop for over 50 ms."""
MAX_TEXT = 32 * 1024
"""Characters of one log line, message or traceback."""
MAX_NAME = 256
"""Characters of the type or code of an exception."""
MAX_CAUSES = 16
MAX_NUMBER = 10**6  # of a line or an attempt that is shown
INT_MIN, INT_MAX = -(2**63), 2**64 - 1


class Unconfined(Struct, tag_field="t", tag="unconfined", forbid_unknown_fields=True):
    """Sent in place of `Ready`, before any guest code runs: a layer was refused."""

    why: str


_any = msgspec.json.Decoder()
_frames = msgspec.json.Decoder(GuestFrame)
_first = msgspec.json.Decoder(Ready | Unconfined)
_encode = msgspec.json.Encoder().encode

_NOT_STRUCTURE = bytes(set(range(256)) - set(b"[]{},"))
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_DIGITS_AS_ZERO = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER = b"0" * 19
_NUMBERS_APART = bytes(code if code in b"0123456789+-.eE" else 0x20 for code in range(256))
LONG_INTEGER = 20
"""Characters of the shortest integer that may not fit into 64 bits: 2^64 or -2^63."""


def decode_first(raw: bytes) -> Ready | Unconfined:
    """Decode what a process sends before it has been given anything, which is our own code speaking.

    Raises:
        ProtocolViolation: it is something else.
    """
    try:
        return _first.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ProtocolViolation(f"the guest did not begin with ready: {clean_text(str(error))}") from error


def decode_frame(raw: bytes) -> GuestFrame:
    """Decode one frame, with its text made harmless.

    Encoding what was decoded leaves one meaning: duplicate keys are gone, text is valid, numbers are finite.

    Raises:
        ProtocolViolation: it is not a frame an honest guest sends.
    """
    check_shape(raw)
    check_integers(raw)
    try:
        frame = _frames.decode(_encode(_any.decode(raw)))
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        raise ProtocolViolation(f"the guest sent a malformed frame: {clean_text(str(error))}") from error
    return frame if isinstance(frame, Call) else _harmless(frame)  # nothing of a call is shown as it is


def check_shape(raw: bytes) -> None:
    """Bound depth and number of values before anything is built from them.

    Raises:
        ProtocolViolation: it is nested too deeply or has too many values.
    """
    opening = raw.count(b"[") + raw.count(b"{")
    if opening <= MAX_DEPTH and opening + raw.count(b",") < MAX_NODES:
        return
    structure = _outside_strings(raw).translate(None, _NOT_STRUCTURE)
    brackets = structure.translate(None, _NOT_BRACKETS)
    if len(structure) - len(brackets) // 2 > MAX_NODES:
        raise ProtocolViolation(
            f"the guest sent a value of more than {MAX_NODES} parts",
            hint="Pass smaller values, or save them in parts with artifacts.save() and pass the names on.",
        )
    if max(accumulate(array("b", brackets.translate(_STEPS))), default=0) > MAX_DEPTH:
        raise ProtocolViolation(
            f"the guest sent a value nested more than {MAX_DEPTH} deep",
            hint="Flatten the value, or save it as an artifact.",
        )


def check_integers(raw: bytes) -> None:
    """Refuse integers that other readers of JSON would round, before the cost of building them.

    Raises:
        ProtocolViolation: one is below -2^63 or not below 2^64.
    """
    if _LONG_NUMBER not in raw.translate(_DIGITS_AS_ZERO):  # ten times as fast as a regular expression
        return
    for number in _outside_strings(raw).translate(_NUMBERS_APART).split():
        if len(number) < LONG_INTEGER or not number.lstrip(b"-").isdigit():
            continue
        if len(number) > LONG_INTEGER or not INT_MIN <= int(number) <= INT_MAX:
            raise ProtocolViolation(
                "the guest sent an integer of more than 64 bits", hint="Pass large integers as text: str(value)."
            )


def _outside_strings(raw: bytes) -> bytes:
    """Return JSON with its strings empty; of anything else some text no longer than it.

    Raises:
        ProtocolViolation: it has too many strings.
    """
    quoted = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    if quoted.count(b'"') > 2 * MAX_NODES:
        raise ProtocolViolation(
            f"the guest sent a value of more than {MAX_NODES} parts",
            hint="Pass smaller values, or save them in parts with artifacts.save() and pass the names on.",
        )
    return b'""'.join(quoted.split(b'"')[::2])


def _harmless(frame: GuestFrame) -> GuestFrame:
    match frame:
        case Log():
            frame.text, frame.step = harmless_text(frame.text), clean_text(frame.step[:MAX_NAME])
        case Note():
            frame.name, frame.message = harmless_text(frame.name), harmless_text(frame.message)
        case Terminated():
            frame.reason = harmless_text(frame.reason)
        case Failed():
            _clean_failure(frame.error)
        case Step():
            if frame.error is not None:
                _clean_failure(frame.error)
        case Diverged():
            frame.recorded, frame.found = harmless_text(frame.recorded), harmless_text(frame.found)
        case Rested():
            frame.found = harmless_text(frame.found)
        case (
            Ready()
            | Compiled()
            | Call()
            | Drop()
            | Mark()
            | Fired()
            | Readings()
            | Idle()
            | Done()
            | Reached()
            | Undone()
        ):
            pass
    return frame


def _clean_failure(error: Failure) -> None:
    error.step = None if error.step is None else clean_text(error.step[:MAX_NAME])
    error.attempt = None if error.attempt is None else max(1, min(error.attempt, MAX_NUMBER))
    error.line = None if error.line is None else max(1, min(error.line, MAX_NUMBER))
    error.type, error.code = clean_text(error.type[:MAX_NAME]), clean_text(error.code[:MAX_NAME])
    error.message, error.traceback = harmless_text(error.message), harmless_text(error.traceback)
    error.cause = [harmless_text(cause) for cause in error.cause[:MAX_CAUSES]]


def harmless_text(text: str) -> str:
    """Return text to show, cut where it is too long: escaping costs time, and its readers are people and models."""
    if len(text) <= MAX_TEXT:
        return clean_text(text)
    return f"{clean_text(text[:MAX_TEXT])} [cut: {len(text)} characters]"
