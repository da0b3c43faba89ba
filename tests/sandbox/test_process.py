"""The host's side of one guest: order, budgets, back-pressure, and its end."""

import asyncio
import json
import os
from pathlib import Path

import msgspec
import pytest

from confined import RAW_ENTRY, RAW_GUEST, confined, descendants, drive, run, start_frame, until
from stepwell.errors import LimitExceeded, ProtocolViolation
from stepwell.ports.frames import Call, Drop, Log, Mark, Outcome
from stepwell.ports.limits import Limits
from stepwell_sandbox.sandbox import ConfinedSandbox

pytestmark = pytest.mark.asyncio
LEVEL = "B"
MIB = 1024 * 1024


async def test_a_call_is_answered(tmp_path: Path) -> None:
    async def answer(call: Call) -> Outcome:
        return Outcome(call.id, 0.0, value=msgspec.Raw(b'"pong"'))

    async with asyncio.timeout(60), confined(LEVEL, tmp_path) as link:
        ran = await run(link, "def run(): return [tools.call('ping') for _ in range(3)]", answer=answer)
    assert ran.value == ["pong"] * 3
    assert ran.exit is not None
    assert ran.exit.limit is None


async def test_frames_arrive_in_order_and_in_batches(tmp_path: Path) -> None:
    source = """
def run():
    for n in range(20000):
        send({"t": "mark", "n": n, "key": "k"})
"""
    async with asyncio.timeout(60), confined(LEVEL, tmp_path) as link:
        ran = await run(link, source)
    assert [frame.n for frame in ran.frames if isinstance(frame, Mark)] == list(range(20000))


@pytest.mark.parametrize(
    ("attack", "says"),
    [
        ('send({"t": "ready", "protocol": 1})', "ready where none is due"),
        ('send({"t": "compiled", "code": ""})', "compiled where none is due"),
        ('send({"t": "shutdown"})', "malformed"),
        ('frame(b"{")', "malformed"),
        ('write(b"\\0\\0\\0\\0")', "empty frame"),
        ('frame(b"\\xff" * 100)', "malformed"),
        ('[send({"t": "call", "id": 7, "key": "k", "kind": "tool", "name": "n", "args": {}}) for _ in "ab"]', "twice"),
        ('send({"t": "call", "id": -1, "key": "k", "kind": "tool", "name": "n", "args": {}})', "negative"),
    ],
)
async def test_a_broken_protocol_ends_the_run(attack: str, says: str, tmp_path: Path) -> None:
    async def never(call: Call) -> Outcome:
        await asyncio.sleep(0)
        return Outcome(call.id + 1000, 0.0)

    async with asyncio.timeout(60), confined(LEVEL, tmp_path) as link:
        ran = await run(link, f"import time\ndef run():\n    {attack}\n    time.sleep(60)", answer=never)
    assert isinstance(ran.refusal, ProtocolViolation)
    assert says in str(ran.refusal)
    assert ran.exit is not None
    assert ran.exit.signal == 9


@pytest.mark.parametrize(
    ("attack", "limits", "named"),
    [
        ('write(b"\\xff\\xff\\xff\\xff")', Limits(), "frame_bytes"),
        ('send({"t": "done", "value": "x" * 2000})', Limits(frame_bytes=1000), "frame_bytes"),
        (
            '[send({"t": "mark", "n": 1, "key": "k" * 500}) for _ in range(400)]',
            Limits(total_bytes=100_000),
            "total_bytes",
        ),
        (
            '[send({"t": "call", "id": n, "key": "k", "kind": "tool", "name": "n", "args": {}}) for n in range(9)]',
            Limits(pending_calls=8),
            "pending_calls",
        ),
    ],
)
async def test_a_crossed_limit_is_named(attack: str, limits: Limits, named: str, tmp_path: Path) -> None:
    async def never(call: Call) -> Outcome:
        await asyncio.sleep(0)
        return Outcome(call.id + 1000, 0.0)

    source = f"import time\ndef run():\n    {attack}\n    time.sleep(60)"
    async with asyncio.timeout(60), confined(LEVEL, tmp_path) as link:
        ran = await run(link, source, limits, never)
    assert isinstance(ran.refusal, LimitExceeded)
    assert f"{named} = " in str(ran.refusal)
    assert ran.refusal.limit == named
    assert ran.exit is not None
    assert ran.exit.limit == named


async def test_calls_that_are_given_up_do_not_count_also_where_many_arrive_at_once(tmp_path: Path) -> None:
    source = """
import json, struct, time
def run():
    frames = b""
    for n in range(9):
        for more in ({"t": "call", "kind": "tool", "name": "n", "args": {}}, {"t": "drop"}):
            raw = json.dumps(more | {"id": n, "key": f"k{n}"}).encode()
            frames += struct.pack(">I", len(raw)) + raw
    write(frames)
    time.sleep(60)
"""
    seen = 0
    async with asyncio.timeout(60), confined(LEVEL, tmp_path) as link:
        process = await link.spawn(Limits(pending_calls=4), lambda: None)
        await process.send(start_frame(source))
        while seen < 18:
            frames = await process.receive()
            seen += len(frames)
            for frame in frames:
                if isinstance(frame, Drop):
                    process.forget(frame.id)
        await process.close()
    assert seen == 18


async def test_output_is_cut_once_and_said_so(tmp_path: Path) -> None:
    source = "def run():\n    for _ in range(1000): print('A' * 100)\n    return 1"
    async with asyncio.timeout(60), confined(LEVEL, tmp_path) as link:
        ran = await run(link, source, Limits(output_bytes=10_000))
    assert ran.value == 1
    assert ran.printed.count("[output cut: more than output_bytes = 10000]") == 1
    assert len(ran.printed) < 10_100
    assert [frame for frame in ran.frames if isinstance(frame, Log)][-1].text.endswith("10000]")


async def test_empty_lines_are_not_free(tmp_path: Path) -> None:
    source = "def run():\n    for _ in range(5000): print(end='')\n    return 1"
    async with asyncio.timeout(60), confined(LEVEL, tmp_path) as link:
        ran = await run(link, source.replace("print(end='')", "send({'t':'log','level':'info','text':'','at':0.0})"),
                        Limits(output_bytes=10_000))  # fmt: skip
    assert len(ran.frames) < 1000


async def test_a_guest_that_nobody_reads_is_held_back(tmp_path: Path) -> None:
    source = """
def run():
    for n in range(40):
        send({"t": "mark", "n": n, "key": "k" * 100_000})
    return 1
"""
    async with asyncio.timeout(60), confined(LEVEL, tmp_path) as link:
        process = await link.spawn(Limits(), lambda: None)
        await process.send(start_frame(source))
        first = await process.receive()
        guest = descendants(os.getpid())[-1]
        await until(lambda: _state(guest) == "S")  # it waits in write
        marks = len(first)
        while frames := await process.receive():
            marks += sum(isinstance(frame, Mark) for frame in frames)
        await process.close()
    assert marks >= 40


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


async def test_sending_waits_for_a_guest_that_does_not_read(tmp_path: Path) -> None:
    async with asyncio.timeout(60), confined(LEVEL, tmp_path) as link:
        process = await link.spawn(Limits(), lambda: None)
        await process.send(start_frame("import time\ndef run(): time.sleep(60)"))
        sent = 0
        large = Outcome(1, 0.0, value=msgspec.Raw(b'"' + b"x" * MIB + b'"'))

        async def flood() -> None:
            nonlocal sent
            while True:
                await process.send(large)
                sent += 1

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(flood(), 0.5)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(process.send(large))
            await process.close()  # a dead guest is ignored
    assert sent <= 4


async def test_frames_after_the_result_are_dropped(tmp_path: Path) -> None:
    source = """
def run():
    send({"t": "done", "value": 1})
    send({"t": "log", "level": "info", "text": "late", "at": 0.0})
"""
    async with asyncio.timeout(60), confined(LEVEL, tmp_path) as link:
        process = await link.spawn(Limits(), lambda: None)
        await process.send(start_frame(source))
        frames = await process.receive()
        while more := await process.receive():
            frames += more
        exit_ = await process.close()
    assert [type(frame).__name__ for frame in frames] == ["Done"]
    assert (exit_.code, exit_.signal) == (0, None)


async def test_close_is_idempotent_and_kills_what_runs(tmp_path: Path) -> None:
    async with asyncio.timeout(60), confined(LEVEL, tmp_path) as link:
        process = await link.spawn(Limits(), lambda: None)
        await process.send(start_frame("import time\ndef run(): time.sleep(60)"))
        first, second = await asyncio.gather(process.close(), process.close())
        assert first == second == await process.close()
        assert await process.receive() == []
    assert (first.signal, first.limit) == (9, None)


async def test_nothing_may_come_before_the_start(tmp_path: Path) -> None:
    hasty = tmp_path / "hasty_guest.py"
    hasty.write_text(
        "import os, struct, time\n"
        "def main():\n"
        '    for raw in (b\'{"t":"ready","protocol":1}\', b\'{"t":"done","value":1}\'):\n'
        "        os.write(3, struct.pack('>I', len(raw)) + raw)\n"
        "    time.sleep(60)\n"
    )
    async with asyncio.timeout(60):
        async with ConfinedSandbox(
            pool=0, scratch_root=tmp_path / "s", guest_entry="hasty_guest:main", guest_code=(hasty,)
        ) as sandbox:
            process = await sandbox.open(Limits())
            with pytest.raises(ProtocolViolation):
                await process.receive()
            await process.close()


async def test_a_violation_retires_the_zygote_and_an_honest_run_does_not(tmp_path: Path) -> None:
    async with asyncio.timeout(60):
        async with ConfinedSandbox(
            pool=1, scratch_root=tmp_path, guest_entry=RAW_ENTRY, guest_code=(RAW_GUEST,)
        ) as sandbox:
            base = "import ctypes\ndef run(): return id(ctypes)"
            first = (await drive(await sandbox.open(Limits()), base)).value
            second = (await drive(await sandbox.open(Limits()), base)).value
            assert first == second  # siblings share the layout of their zygote
            bad = await drive(await sandbox.open(Limits()), "def run(): frame(b'{')")
            assert isinstance(bad.refusal, ProtocolViolation)
            assert (await drive(await sandbox.open(Limits()), base)).value != first


async def test_a_frame_is_json_with_a_length(tmp_path: Path) -> None:
    source = "def run(given): return given"
    async with asyncio.timeout(60), confined(LEVEL, tmp_path) as link:
        ran = await run(link, source, given={"ä": [1, 2.5, None, "😀"]})
    assert ran.value == json.loads('{"ä": [1, 2.5, null, "😀"]}')
