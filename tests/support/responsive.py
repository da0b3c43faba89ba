"""The settings of a server's process, for a while."""

import gc
import sys
from collections.abc import Generator
from contextlib import contextmanager

from stepwell_server.responsive import keep_responsive


@contextmanager
def responsive() -> Generator[None, None, None]:
    """Let this process be one that serves."""
    thresholds, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.collect()
    keep_responsive()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        sys.setswitchinterval(interval)
