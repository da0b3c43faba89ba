"""What the host takes from a guest for its journal: keys, names, times and arguments that an honest one sends."""

import re

import msgspec

from stepwell.engine.agent_keys import is_inside
from stepwell.errors import ProtocolViolation
from stepwell.model import JsonObject
from stepwell.ports.frames import Call, Readings, Step
from stepwell.sdk import codec

ATTEMPT = re.compile(r"@\d+/")
MAX_ATTEMPT = 2**31
MAX_KEY = 2000  # characters
MAX_NAME = 200  # characters
MAX_TIME = 1e11  # unix seconds
MAX_READINGS = 1000  # of one frame
READINGS_NAME = re.compile(r"seed|readings\d+")
LARGE_BYTES = 64 * 1024  # of arguments
SEED = re.compile(r"[0-9a-f]{64}")
DECISION = re.compile(r"policy\d*|doubt|ask\d+")
"""Behind the last "!" of a key: decisions that a guest must not be able to record."""


def check_key(key: str) -> None:
    """Raise ProtocolViolation if a guest uses a key that no honest one has, or that only the host gives out."""
    if not 0 < len(key) <= MAX_KEY or not key.isprintable():
        raise ProtocolViolation("the guest used a key that is too long or not printable")
    if is_decision(key) or key.startswith("!") or is_inside(key):
        raise ProtocolViolation(f"the guest used the key {key[:200]!r}, which is the host's")


def is_decision(key: str) -> bool:
    """Whether it is the key of a decision before or about a call, which only the host gives out."""
    _, mark, last = key.rpartition("!")
    return bool(mark) and DECISION.fullmatch(last) is not None


def check_name(name: str) -> None:
    """Raise ProtocolViolation if a step or call has a name that no honest guest gives it."""
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise ProtocolViolation("the guest used a name that is too long or not printable")


def read_call(call: Call) -> tuple[JsonObject, str]:
    """Return `{"args": [...], "kwargs": {...}}` of a call, either of which may be missing, and their digest.

    Raises:
        ProtocolViolation: key, name or arguments are none that an honest guest sends.
    """
    check_key(call.key)
    check_name(call.name)
    decoded = msgspec.json.decode(call.args)
    if not isinstance(decoded, dict) or not decoded.keys() <= {"args", "kwargs"}:
        raise ProtocolViolation("the guest made a call without an arguments object")
    if not isinstance(decoded.get("args", []), list) or not isinstance(decoded.get("kwargs", {}), dict):
        raise ProtocolViolation("the guest made a call with malformed arguments")
    return decoded, codec.digest(decoded) if len(bytes(call.args)) <= LARGE_BYTES else codec.digest_in_parts(decoded)


def check_step(frame: Step) -> None:
    """Raise ProtocolViolation if no attempt of a step ends like that."""
    check_key(frame.key)
    check_name(frame.name)
    failed = frame.status == "error"
    times = all(0 <= at < MAX_TIME for at in (frame.started, frame.finished))
    if not 0 < frame.attempt < MAX_ATTEMPT or not times or failed != (frame.error is not None):
        raise ProtocolViolation("the guest recorded a step with an impossible attempt, time or outcome")
    if not frame.final and not failed:
        raise ProtocolViolation("the guest recorded a step that goes on after it succeeded")


def check_readings(frame: Readings) -> None:
    """Raise ProtocolViolation if the readings belong to no attempt, or no clock shows them."""
    check_key(frame.key)
    if not attempt_of(frame.key):
        raise ProtocolViolation(f"the guest sent readings for {frame.key[:200]!r}")
    seeded = frame.key.endswith("!seed")
    limits = all(0 <= reading < MAX_TIME * 1e6 for reading in frame.times) and len(frame.times) <= MAX_READINGS
    if not limits or seeded != (SEED.fullmatch(frame.seed) is not None) or seeded == bool(frame.times):
        raise ProtocolViolation("the guest sent readings that no clock shows")


def attempt_of(key: str) -> str:
    """Return the path of the innermost attempt whose readings have that key; empty if it is no such key."""
    path, _, name = key.rpartition("!")
    attempt = ATTEMPT.match(path, max(0, path.rfind("@")))
    known = attempt is not None and path.endswith("/") and READINGS_NAME.fullmatch(name) is not None
    return path[: attempt.end()] if attempt is not None and known else ""


def without_attempts(key: str) -> str:
    """Return a key that is the same in every attempt of the steps around the call."""
    return ATTEMPT.sub("@/", key)
