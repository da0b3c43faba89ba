"""Sandboxes of environments whose callers go away, or come too late: none is left."""

import asyncio
from pathlib import Path

import pytest

from stepwell.errors import SandboxUnavailable
from stepwell.ports.limits import Limits
from stepwell_sandbox import environments
from stepwell_sandbox.environments import EnvironmentSandboxes
from stepwell_sandbox.process import ConfinedProcess

pytestmark = pytest.mark.asyncio


class Kept:
    """Stands for a sandbox whose end takes until it is let."""

    children = 0

    def __init__(self) -> None:
        self.ending, self.may_end, self.ended = asyncio.Event(), asyncio.Event(), False

    async def open(self, limits: Limits) -> ConfinedProcess:
        raise SandboxUnavailable("stands for one")

    async def __aexit__(self, *exc: object) -> None:
        self.ending.set()
        await self.may_end.wait()
        self.ended = True


class Machine:
    """Keeps them, and what was started."""

    def __init__(self) -> None:
        self.started: list[Kept] = []
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.kept = EnvironmentSandboxes(self._start)

    async def _start(self, packages: Path) -> Kept:
        await self.may_start.wait()
        self.started.append(Kept())
        return self.started[-1]

    async def open(self, name: str) -> None:
        with pytest.raises(SandboxUnavailable):
            await self.kept.open(Path(name), Limits())

    async def close(self) -> None:
        for one in self.started:
            one.may_end.set()
        await self.kept.close()


async def test_an_open_that_is_given_up_leaves_none_that_is_never_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "MAX_IDLE", 1)
    async with asyncio.timeout(20):
        machine = Machine()
        await machine.open("one")
        opening = asyncio.create_task(machine.kept.open(Path("two"), Limits()))
        await asyncio.wait([opening], timeout=0.05)
        opening.cancel()
        await asyncio.wait([opening])
        await machine.open("three")
        assert len(machine.kept) <= 2
        await machine.close()
        assert all(one.ended for one in machine.started)


async def test_what_is_being_ended_when_all_are_closed_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "LOOK_S", 0.0)
    monkeypatch.setattr(environments, "IDLE_S", 0.0)
    async with asyncio.timeout(20):
        machine = Machine()
        await machine.open("one")
        await machine.started[0].ending.wait()
        closing = asyncio.create_task(machine.kept.close())
        await asyncio.sleep(0)
        machine.started[0].may_end.set()
        await closing
        assert machine.started[0].ended


async def test_an_open_that_waits_while_all_are_closed_starts_none() -> None:
    async with asyncio.timeout(20):
        machine = Machine()
        machine.may_start.clear()
        first = asyncio.create_task(machine.open("one"))
        await asyncio.sleep(0)
        late = asyncio.create_task(machine.open("two"))
        closing = asyncio.create_task(machine.close())
        await asyncio.sleep(0)
        machine.may_start.set()
        while not machine.started:  # noqa: ASYNC110
            await asyncio.sleep(0)
        machine.started[0].may_end.set()
        await asyncio.gather(first, late, closing)
        assert [one.ended for one in machine.started] == [True]
