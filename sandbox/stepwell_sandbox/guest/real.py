"""Clocks and randomness as the interpreter has them, taken before `virtual` replaces them for workflows.

The guest's own code uses these, whatever runs around it.
"""

import datetime
import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

module = type(time)("time")
"""The module `time` as it was, for those parts of the standard library that must go on with the real clock."""
module.__dict__.update(time.__dict__)

now = time.time
"""Unix seconds."""
now_ns = time.time_ns
monotonic = time.monotonic
urandom = os.urandom
seed = random.Random.seed
start_thread = threading.Thread.start
submit = ThreadPoolExecutor.submit
from_timestamp = datetime.datetime.__dict__["fromtimestamp"]
date_from_timestamp = datetime.date.__dict__["fromtimestamp"]


def replace(module: Any, name: str, function: Callable[..., Any]) -> None:
    """Put `function` in the place of the module's one of that name."""
    # As a builtin function would, a static method stays a plain function where a class has it as an attribute.
    function.__name__ = function.__qualname__ = name
    function.__module__ = module.__name__
    setattr(module, name, staticmethod(function))
