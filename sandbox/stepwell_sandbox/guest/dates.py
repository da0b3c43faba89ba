"""`datetime.now`, `utcnow`, `today`.

The types stay themselves, so that instances, subclasses and hints are what they always were: their class methods are
exchanged in the types' own dictionaries, which a self-test proves.
"""

import ctypes
import datetime
import gc
from collections.abc import Callable
from typing import Any

from stepwell_sandbox.guest import real, streams
from stepwell_sandbox.guest.streams import NS, Stream, current


def replace_datetime() -> None:
    """Make them show the time of the place that asks.

    Raises:
        RuntimeError: this Python does not let the types be changed.
    """
    plain_now: Any = datetime.datetime.__dict__["now"]
    plain_utcnow: Any = datetime.datetime.__dict__["utcnow"]
    plain_today: Any = datetime.date.__dict__["today"]

    def now(cls: Any, tz: datetime.tzinfo | None = None) -> Any:
        stream = current()
        if stream is None:
            return plain_now.__get__(None, cls)(tz)
        return real.from_timestamp.__get__(None, cls)(stream.wall_ns() / NS, tz)

    def utcnow(cls: Any) -> Any:
        stream = current()
        if stream is None:
            return plain_utcnow.__get__(None, cls)()
        aware = real.from_timestamp.__get__(None, cls)(stream.wall_ns() / NS, datetime.UTC)
        return aware.replace(tzinfo=None)

    def today(cls: Any) -> Any:
        stream = current()
        if stream is None:
            return plain_today.__get__(None, cls)()
        return cls.fromtimestamp(stream.wall_ns() / NS)

    _exchange(datetime.datetime, now=now, utcnow=utcnow)
    _exchange(datetime.date, today=today)
    _prove()


def _exchange(cls: type, **methods: Callable[..., Any]) -> None:
    # The types are immutable; their dictionaries are not. It happens before any code that uses them is compiled.
    names: Any = gc.get_referents(cls.__dict__)[0]
    for name, method in methods.items():
        method.__name__, method.__qualname__ = name, f"{cls.__name__}.{name}"
        names[name] = classmethod(method)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(cls))


class _Proof(Stream):
    """A stream that shows one moment."""

    def wall_ns(self) -> int:
        return 981_173_106 * NS  # 2001-02-03 04:05:06 UTC


def _prove() -> None:
    class Own(datetime.datetime):
        pass

    own: Any = Own
    utc, wanted = datetime.UTC, datetime.datetime(2001, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)
    token = streams.thread.set(_Proof(str, ""))
    try:
        found = (
            datetime.datetime.now(utc) == Own.now(utc) == wanted
            and own.utcnow() == wanted.replace(tzinfo=None)
            and datetime.date.today() == datetime.datetime.today().date() == wanted.astimezone().date()
            and type(datetime.datetime.now()) is datetime.datetime
            and type(Own.now()) is Own
        )
    finally:
        streams.thread.reset(token)
    if not found or abs(datetime.datetime.now(utc).timestamp() - real.now()) > 60:
        raise RuntimeError("this Python does not let the clock of datetime be replaced; use CPython 3.11 to 3.14")
