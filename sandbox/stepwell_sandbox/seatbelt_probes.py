"""What a process under Seatbelt tries in order to prove its confinement. Trusted code; standard library only."""

import os
import socket

from stepwell_sandbox.attempts import common, worked
from stepwell_sandbox.guest.channel import Channel


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
    """Return the names of the forbidden things that worked; `port` is one of 127.0.0.1 on which the host listens."""
    attempts = common(outside, beside, host_pid) | {
        "connect to the host": lambda: socket.create_connection(("127.0.0.1", port), 1),
        "listen": lambda: socket.create_server(("127.0.0.1", 0)),
        "list the users": lambda: os.listdir("/Users"),
    }
    return worked(attempts)


def _execute() -> None:
    """Try to become another program, as the last thing: where that works, no result comes."""
    try:
        os.execv("/bin/ls", ["/bin/ls", "/"])  # noqa: S606 - must fail
    except OSError:
        return
