"""What a process under Seatbelt tries in order to prove its confinement. Trusted code; standard library only."""

import os
import socket
from collections.abc import Callable
from typing import Any

from stepwell_sandbox.guest.channel import Channel

Attempts = dict[str, Callable[[], object]]


def main(fd: int) -> None:
    """Run every probe and end the process. Never returns."""
    channel = Channel(fd)
    channel.send({"t": "ready", "protocol": 1})
    (start,) = channel.receive()
    found = successes(**start["inputs"])
    if not found:
        _execute()
    channel.send({"t": "done", "value": found})
    os._exit(0)


def successes(outside: list[str], beside: str, host_pid: int, port: int) -> list[str]:
    """Return the names of the forbidden things that worked.

    Args:
        outside: Files that must not be readable.
        beside: A path of the host that does not exist.
        host_pid: A process of the host.
        port: A port of 127.0.0.1 on which the host listens.
    """
    attempts: Attempts = {
        "create a file of the host": lambda: open(beside, "w"),  # noqa: SIM115 - must fail
        "write to the standard library": lambda: open(os.__file__ + ".probe", "w"),  # noqa: SIM115 - must fail
        "connect to the host": lambda: socket.create_connection(("127.0.0.1", port), 1),
        "listen": lambda: socket.create_server(("127.0.0.1", 0)),
        "start a process": _fork,
        "signal a process": lambda: os.kill(host_pid, 0),
        "list the users": lambda: os.listdir("/Users"),
    }
    attempts |= {f"read {path}": _reader(path) for path in outside}
    return [name for name, attempt in attempts.items() if _worked(attempt)]


def _execute() -> None:
    """Try to become another program, as the last thing: where that works, no result comes."""
    try:
        os.execv("/bin/ls", ["/bin/ls", "/"])  # noqa: S606 - must fail
    except OSError:
        return


def _worked(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


def _reader(path: str) -> Callable[[], Any]:
    def read() -> object:
        with open(path) as file:
            return file.read()

    return read


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)
