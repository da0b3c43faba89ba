"""Settings of Python for a process that serves: its event loop is not to be held up by what workflows do."""

import gc
import sys

SWITCH_S = 0.001
THRESHOLDS = (1000, 5, 8000)


def keep_responsive() -> None:
    """Call once, when the server is made. The process must be the server's own.

    A full collection looks at all objects: with the modules of a server that takes 50 ms, and more with what many
    workflows hold. Modules are taken out of it, and it becomes rare; most of what is garbage goes without it. One
    of the middle generation looks at 5,000 new objects; with 40,000 it took 25 ms. A thread that works on a large
    value gives way every millisecond, not every five.
    """
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    sys.setswitchinterval(SWITCH_S)
