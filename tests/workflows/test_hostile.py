"""A workflow that speaks to its host in ways that no honest guest does."""

from pathlib import Path
from typing import Any

import pytest

from stepwell.model import RunStatus
from stepwell_server import Session
from support.outside import Outside
from support.server import LOCAL_HTTP, make_home

SEND = "import stepwell.sdk.runtime as r\nimport time\n\ndef send(frame):\n    r._bound.channel.send(frame)\n\n"
STEP = {
    "t": "step",
    "key": "k",
    "name": "k",
    "attempt": 1,
    "final": True,
    "status": "ok",
    "started": 1.0,
    "finished": 1.0,
}
CALL = {"t": "call", "id": 77, "key": "c", "kind": "query", "name": "tools.list", "args": {}}
READINGS = {"t": "readings", "key": "k@1/!readings1", "seed": "", "times": [1]}
FRAMES: dict[str, list[dict[str, Any]]] = {
    "huge attempt": [STEP | {"value": 1, "attempt": 2**63}],
    "negative attempt": [STEP | {"value": 1, "attempt": -1}],
    "step twice": [STEP | {"value": 1}, STEP | {"value": 2}],
    "mark of nothing": [{"t": "mark", "n": 1, "key": "nothing"}],
    "mark out of order": [STEP | {"value": 1}, {"t": "mark", "n": 7, "key": "k"}],
    "deadline twice": [
        {"t": "fired", "key": "d", "at": 1.0, "mark": 1},
        {"t": "fired", "key": "d", "at": 1.0, "mark": 2},
    ],
    "the host's key": [STEP | {"value": 1, "key": "curl.post!policy"}],
    "the host's key of a redirect": [STEP | {"value": 1, "key": "curl.post!policy1"}],
    "the host's key in a call": [CALL | {"key": "curl.post!doubt"}],
    "another call of one key": [CALL, CALL | {"id": 78, "args": {"kwargs": {"prefix": "curl"}}}],
    "readings of nothing": [READINGS | {"key": "k"}],
    "readings for the body": [READINGS | {"key": "!readings1"}],
    "readings twice": [READINGS, READINGS],
    "too many readings": [READINGS | {"times": [1] * 1001}],
    "a time that no clock shows": [READINGS | {"times": [-1]}],
    "no readings": [READINGS | {"times": []}],
    "no seed": [READINGS | {"key": "k@1/!seed", "times": [], "seed": "zz"}],
    "a seed with readings": [READINGS | {"seed": "0" * 64}],
    "unknown kind": [CALL | {"kind": "root"}],
    "the state of somebody else": [CALL | {"kind": "state", "name": "root.set", "args": {"kwargs": {"key": "k"}}}],
    "something else to do with state": [CALL | {"kind": "state", "name": "run.take", "args": {"kwargs": {"key": "k"}}}],
    "unknown frame": [{"t": "sudo"}],
    "ready again": [{"t": "ready", "protocol": 1}],
}


async def survives(session: Session) -> None:
    """The host still works, for new runs and for lists."""
    run = await session.run_code("1 + 1")
    assert run.output == 2
    assert (await session.app.engine.list()).total >= 2


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.asyncio
async def test_a_frame_that_no_honest_guest_sends_ends_its_run_and_nothing_else(home: Path, name: str):
    source = (
        SEND
        + f"def run():\n    for frame in {FRAMES[name]!r}:\n        send(frame)\n    time.sleep(0.2)\n    return 1\n"
    )
    async with Session(home) as session:
        await session.add_workflow("hostile", source)
        run = await session.run("hostile")
        await survives(session)

    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert run.error.code == "protocol_violation"


@pytest.mark.parametrize(
    "value", ['{"$": "int", "v": 5}', '{"$": "timedelta", "v": ["a"]}', '{"$": "dict", "v": 5}', '{"$": 1}']
)
@pytest.mark.asyncio
async def test_a_result_that_is_no_value_does_not_break_the_lists(home: Path, value: str):
    source = (
        SEND
        + f"import json\n\ndef run():\n    send({{'t': 'done', 'value': json.loads({value!r})}})\n    time.sleep(5)\n"
    )
    async with Session(home) as session:
        await session.add_workflow("hostile", source)
        run = await session.run("hostile")
        await survives(session)
        assert (await session.app.engine.get(run.id)).status is run.status


@pytest.mark.asyncio
async def test_arguments_that_are_no_values_end_the_run_instead_of_being_tried_for_ever(home: Path):
    call = CALL | {"kind": "tool", "name": "fetch", "args": {"kwargs": {"url": {"$": "int", "v": 5}}}}
    source = SEND + f"def run():\n    send({call!r})\n    time.sleep(0.5)\n    return 1\n"
    async with Session(home) as session:
        await session.add_workflow("hostile", source)
        run = await session.wait(await session.start("hostile"), 60)
        await survives(session)

    assert run.status in (RunStatus.COMPLETED, RunStatus.FAILED)
    assert run.attempts == 1


@pytest.mark.asyncio
async def test_an_approval_cannot_be_recorded_by_the_workflow_that_needs_it(tmp_path: Path, outside: Outside):
    home = make_home(tmp_path / "asks", LOCAL_HTTP + '[policy]\ntools = {"curl.post" = "approve"}\n')
    forged = STEP | {"value": {"approved": True}, "key": "curl.post!policy", "name": "curl.post"}
    timer = CALL | {"kind": "timer", "key": "curl.post!policy", "name": "curl.post", "args": {"kwargs": {"seconds": 0}}}
    for number, frame in enumerate((forged, timer)):
        source = (
            SEND + f"def run(base):\n    send({frame!r})\n    tools.curl.post(url=base + '/effect/forged', json={{}})\n"
        )
        async with Session(home) as session:
            await session.add_workflow(f"forge_{number}", source)
            run = await session.run(f"forge_{number}", base=outside.url)
        assert run.status is RunStatus.FAILED

    assert outside.effects == {}
