"""The functions of the module `time`."""

import time
from collections.abc import Callable
from typing import Any

from stepwell_sandbox.guest import real
from stepwell_sandbox.guest.streams import NS, current


def replace_time() -> None:
    """Make them show the time of the place that asks."""
    real.replace(time, "time", _wall(time.time, _seconds))
    real.replace(time, "time_ns", _wall(time.time_ns, int))
    for name in ("monotonic", "perf_counter", "process_time", "thread_time"):
        if hasattr(time, name):
            real.replace(time, name, _elapsed(getattr(time, name), _seconds))
            real.replace(time, f"{name}_ns", _elapsed(getattr(time, f"{name}_ns"), int))
    for name in ("localtime", "gmtime", "ctime"):
        real.replace(time, name, _with_default(getattr(time, name)))
    real.replace(time, "asctime", _asctime)
    real.replace(time, "strftime", _strftime)
    if hasattr(time, "clock_gettime"):
        real.replace(time, "clock_gettime", _by_clock(time.clock_gettime, _seconds))
        real.replace(time, "clock_gettime_ns", _by_clock(time.clock_gettime_ns, int))


def _wall(plain: Callable[[], Any], show: Callable[[int], Any]) -> Callable[[], Any]:
    def read() -> Any:
        stream = current()
        return plain() if stream is None else show(stream.wall_ns())

    return read


def _elapsed(plain: Callable[[], Any], show: Callable[[int], Any]) -> Callable[[], Any]:
    def read() -> Any:
        stream = current()
        reading = None if stream is None else stream.elapsed_ns()
        return plain() if reading is None else show(reading)

    return read


def _with_default(plain: Callable[..., Any]) -> Callable[..., Any]:
    def convert(seconds: float | None = None, /) -> Any:
        return plain(time.time() if seconds is None else seconds)

    return convert


def _asctime(when: Any = None, /) -> str:
    return real.module.asctime(time.localtime() if when is None else when)


def _strftime(text: str, when: Any = None, /) -> str:
    return real.module.strftime(text, time.localtime() if when is None else when)


def _by_clock(plain: Callable[[int], Any], show: Callable[[int], Any]) -> Callable[[int], Any]:
    def read(which: int, /) -> Any:
        stream = current()
        if stream is None:
            return plain(which)
        reading = stream.wall_ns() if which == time.CLOCK_REALTIME else stream.elapsed_ns()
        return plain(which) if reading is None else show(reading)

    return read


def _seconds(ns: int) -> float:
    return ns / NS
