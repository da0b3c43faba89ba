"""A guest looks for an answer before it sleeps, as long as answers come that soon."""

import select
import socket
from collections.abc import Generator
from contextlib import closing

import pytest

from stepwell_sandbox.guest.channel import LOOKS, MOST_SKIPPED, Channel
from stepwell_sandbox.wire import HEADER

FRAME = b'{"t":"outcome","id":1}'
_poll = select.poll


class CountingPoll:
    """Counts those that do not sleep."""

    looked = 0

    def __init__(self) -> None:
        self._poll = _poll()
        self.register = self._poll.register

    def poll(self, timeout: float | None) -> list[tuple[int, int]]:
        """As the real one."""
        type(self).looked += timeout == 0
        return self._poll.poll(timeout)


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Generator[tuple[socket.socket, Channel]]:
    monkeypatch.setattr(select, "poll", CountingPoll)
    CountingPoll.looked = 0
    ours, theirs = socket.socketpair()
    with ours, theirs, closing(Channel(theirs.fileno())) as channel:
        yield ours, channel


def test_it_goes_on_to_look_while_answers_are_there_soon(ends: tuple[socket.socket, Channel]) -> None:
    host, channel = ends
    for n in range(1, 11):
        host.sendall(HEADER.pack(len(FRAME)) + FRAME)
        assert channel.receive(20) == [{"t": "outcome", "id": 1}]
        assert CountingPoll.looked == n


def test_it_looks_ever_more_rarely_while_that_is_in_vain(ends: tuple[socket.socket, Channel]) -> None:
    host, channel = ends
    assert not any(channel.arrives_soon() for _ in range(MOST_SKIPPED))
    assert CountingPoll.looked == LOOKS * MOST_SKIPPED.bit_length()
    host.sendall(HEADER.pack(len(FRAME)) + FRAME)
    assert not any(channel.arrives_soon() for _ in range(MOST_SKIPPED))
    assert channel.arrives_soon()
    assert channel.arrives_soon()
    assert len(channel.receive(0)) == 1
