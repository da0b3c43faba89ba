"""Frames by chance against the host: refused or understood, never an exception of another kind, a leak or a stall.

`STEPWELL_FUZZ_SEED=7 STEPWELL_FUZZ=1000000 pytest -m "exhaustive or not exhaustive" tests/fuzz` makes other and more
frames. A failure names its seed and the shortest script that was found to fail.
"""

import asyncio
import gc
import json
import logging
import os
import random
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stalls import watched_loop

from fuzz.frames import Guest, packed, script, shortest, spoilt
from fuzz.peers import Peers, descriptors, open_peer
from stepwell.errors import ProtocolViolation, RunError
from stepwell.model import LIVE
from stepwell.model.text import clean_text
from stepwell.ports.frames import Call, Log, Outcome
from stepwell.ports.limits import Limits
from stepwell_sandbox.decode import decode_frame
from stepwell_server import Session, app
from support.responsive import responsive
from support.server import make_home

SEED = os.environ.get("STEPWELL_FUZZ_SEED", "1")
COUNT = int(os.environ.get("STEPWELL_FUZZ", "100000"))
FEW = 8_000
COUNTS = [FEW, pytest.param(COUNT, marks=pytest.mark.exhaustive)]
FLOORS = 15
"""Of the work to read and write a megabyte of numbers, in one turn of the event loop. It takes about 4 ms."""
LIMITS = Limits(output_bytes=4096, pending_calls=20, total_bytes=200_000, wall_s=20.0)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=5),
    max_leaves=30,
)  # fmt: skip


@settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(json_values)
def test_every_value_of_json_arrives_as_it_is(value: Any):
    frame = decode_frame(json.dumps({"t": "done", "value": value}, ensure_ascii=False).encode())
    assert json.loads(msgspec.json.encode(frame)) == {"t": "done", "value": value}


@settings(max_examples=300, derandomize=True, database=None, deadline=None)
@given(st.binary(max_size=200) | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_bytes_upset_the_decoder(raw: bytes):
    with suppress(ProtocolViolation):
        decode_frame(raw)


@pytest.mark.parametrize("count", COUNTS)
def test_no_changed_frame_upsets_the_decoder(count: int):
    rng = random.Random(f"decode {SEED}")
    guest, accepted = Guest(rng), 0
    for n in range(count * 3 // 5):
        if n % 50 == 0:
            guest = Guest(rng)
        frame = guest.frame() if rng.random() < 0.9 else guest.last()
        raw = spoilt(frame, rng)[4:]
        try:
            decoded = decode_frame(raw)
        except ProtocolViolation:
            continue
        except BaseException as error:
            pytest.fail(f"seed {SEED}, frame {n}: {raw!r} raised {error!r}")
        accepted += 1
        json.dumps(json.loads(msgspec.json.encode(decoded), parse_constant=pytest.fail), ensure_ascii=False).encode()
        if isinstance(decoded, Log):
            assert clean_text(decoded.text) == decoded.text
    assert accepted > count // 40


async def listen(sent: Iterable[bytes], *, reads: bool) -> str:
    """Be the host of one process; return what is wrong."""
    process = await open_peer(sent, LIMITS, reads=reads)
    try:
        async with asyncio.timeout(60):
            while frames := await process.receive():
                for frame in frames:
                    if isinstance(frame, Call) and reads:
                        await process.send(Outcome(frame.id, 0.0, msgspec.Raw(b'"' + b"x" * 1000 + b'"')))
    except RunError:
        pass
    except BaseException as error:
        return repr(error)
    finally:
        await process.close()
    return ""


async def listen_to_many(count: int) -> list[str]:
    rng = random.Random(f"process {SEED}")
    made = 0
    while made < count // 4:
        seed = rng.random()
        sent = script(random.Random(seed), 40, 0.1)
        made += len(sent)
        reads = rng.random() < 0.9
        if wrong := await listen([packed({"t": "idle", "calls": 0}), *sent], reads=reads):

            async def fails(fewer: list[bytes], reads: bool = reads) -> bool:
                return bool(await listen(fewer, reads=reads))

            return [f"seed {SEED}: {wrong} of {await shortest(sent, fails)}"]
    return []


@pytest.mark.parametrize("count", COUNTS)
def test_no_script_upsets_the_process(count: int):
    loop, watch = watched_loop()
    with responsive(), asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(listen_to_many(100))
        gc.collect()
        before = descriptors()
        watch.reset()
        wrong = runner.run(listen_to_many(count))
        floors = watch.floors
        assert len(asyncio.all_tasks(loop)) == 0
    assert wrong == []
    assert descriptors() <= before
    assert floors < FLOORS


class Failures(logging.Handler):
    """Keeps what the host could not explain."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


class Host:
    """Runs scripts as workflows, in the real engine over a real store."""

    def __init__(self, session: Session, failures: Failures) -> None:
        self.session = session
        self.script: tuple[list[bytes], bool] = ([], True)
        self._failures = failures

    async def run(self, sent: list[bytes], *, reads: bool) -> str:
        """Return what is wrong with the host afterwards."""
        self._failures.found.clear()
        self.script = (sent, reads)
        run = await self.session.start("fuzzed")
        try:
            async with asyncio.timeout(60):
                await self.session.app.engine.wait(run.id, 0.3)
                ended = await self.session.cancel(run)
                for child in (await self.session.app.engine.list(parent_id=run.id)).items:
                    await self.session.cancel(child)
        except TimeoutError:
            return "it does not end"
        if ended.status in LIVE:
            return f"it stays {ended.status}"
        return "\n".join(self._failures.found)


@asynccontextmanager
async def hosting(home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Host, None]:
    hosts: list[Host] = []

    @asynccontextmanager
    async def open_peers(**_: Any) -> AsyncGenerator[Peers, None]:
        yield Peers(lambda: hosts[0].script)

    monkeypatch.setattr(app, "open_sandbox", open_peers)
    failures = Failures()
    logging.getLogger("stepwell").addHandler(failures)
    try:
        async with Session(make_home(home, "[limits]\noutput_bytes = 4096\npending_calls = 20\n")) as session:
            await session.add_workflow("fuzzed", "def run(): ...")
            await session.add_workflow("leaf", "def run(x=None): ...")
            hosts.append(Host(session, failures))
            yield hosts[0]
    finally:
        logging.getLogger("stepwell").removeHandler(failures)


async def run_many(host: Host, count: int) -> list[str]:
    rng = random.Random(f"engine {SEED}")
    made = 0
    while made < count * 3 // 20:
        sent = script(random.Random(rng.random()), 60, 0.02)
        made += len(sent)
        reads = rng.random() < 0.9
        if wrong := await host.run(sent, reads=reads):

            async def fails(fewer: list[bytes], reads: bool = reads) -> bool:
                return bool(await host.run(fewer, reads=reads))

            return [f"seed {SEED}: {wrong} of {await shortest(sent, fails)}"]
    return []


@pytest.mark.parametrize("count", COUNTS)
def test_no_script_upsets_the_engine(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    loop, watch = watched_loop()

    async def main() -> tuple[list[str], float]:
        async with hosting(tmp_path / "home", monkeypatch) as host:
            await host.run([packed({"t": "done", "value": 1})], reads=True)
            watch.reset()
            wrong = await run_many(host, count)
            await host.run([packed({"t": "done", "value": 1})], reads=True)
            ended = await host.session.app.engine.list(workflow="fuzzed", limit=1)
            assert wrong or ended.items[0].status == "completed"
            return wrong, watch.floors

    before = descriptors()
    with responsive(), asyncio.Runner(loop_factory=lambda: loop) as runner:
        wrong, floors = runner.run(main())
    assert wrong == []
    assert descriptors() <= before + 2  # the loop's own
    assert floors < FLOORS
