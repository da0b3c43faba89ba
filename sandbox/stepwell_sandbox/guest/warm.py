"""The rehearsal: a workflow that comes to nothing, run before those of guests.

In the zygote it is run to its end, several times: Python finds names and specialises code as it runs it, and what a
fork inherits no guest has to do anew. A process that is kept ready rehearses the beginning: a forked process shares
the memory of its parent until it writes to it, and Python writes to what it only reads. Each page of 4 KiB is copied
when it is first used, which is most of the time of a short run, and those of the beginning every run uses. Nothing of
the rehearsal is visible to the run: what it sets is set again.
"""

import contextvars
import json
import linecache
import socket
import sys
from typing import Any

from stepwell.sdk import codec
from stepwell.sdk.context import WORKFLOW_FILE
from stepwell_sandbox.guest import boot, output, virtual
from stepwell_sandbox.guest.channel import Channel
from stepwell_sandbox.guest.replay import Replay
from stepwell_sandbox.wire import GUEST_FD, HEADER

_SOURCE = '''
"""Look something up, and count it."""
import asyncio
import json

def count(value: dict[str, int]) -> int:
    return sum(value.values())

async def look(name: str) -> dict[str, int]:
    return tools.warm.look(name=name)

async def run(ctx, name: str = "x", times: int | None = None) -> dict[str, int]:
    try:
        found = await ctx.step("look", look, name)
        return {key: await ctx.step("count", count, found) for key in found}
    except KeyError as error:
        raise ValueError(f"there is no {name!r}") from error
'''
_SHORT = "def run():\n    return 1\n"
_START: dict[str, Any] = {
    "run_id": "r-warm", "workflow": "warm", "source": _SOURCE, "entry": "run", "entry_kind": "function",
    "inputs": {"name": "x", "times": 1}, "seed": "00" * 32, "created_at": 1.0, "attempt": 1,
    "context_parameters": ["ctx"], "mode": "run",
}  # fmt: skip
_ANSWER = json.dumps({"t": "outcome", "id": 1, "at": 2.0, "value": {"a": 1}}).encode()
TIMES = 8
"""Python 3.11 begins to specialise a function when it is called so often; later versions do earlier."""


def prepare() -> None:
    """Do what every guest needs and a fork keeps, once in a zygote."""
    virtual.prepare()
    for _ in range(TIMES):
        contextvars.copy_context().run(warm_up)
    output.capture(None)  # what the zygote says is no output of a workflow


def main(fd: int = GUEST_FD) -> None:
    """Rehearse the beginning, then do what `boot.main` does. Never returns."""
    contextvars.copy_context().run(_begin)
    boot.main(fd)


def _begin() -> None:
    guest, host = socket.socketpair()
    with guest, host:
        channel = Channel(guest.fileno())
        boot.begin(channel, _START, Replay())
        channel.close()
    compile(_SHORT, WORKFLOW_FILE, "exec")


def warm_up() -> None:
    """Run a workflow of two steps and a call to its end, with a host that has answered already.

    Raises:
        RuntimeError: it did not come to its end.
    """
    guest, host = socket.socketpair()
    with guest, host:
        host.sendall(HEADER.pack(len(_ANSWER)) + _ANSWER)
        channel = Channel(guest.fileno())
        last = boot.execute(boot.begin(channel, _START, Replay()), _START)
        channel.close()
    if last.get("value") != {"a": 1}:
        raise RuntimeError(f"the rehearsal of a run ended otherwise: {last}")
    del sys.modules[codec.WORKFLOW_MODULE], linecache.cache[WORKFLOW_FILE]
