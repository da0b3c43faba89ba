"""Time and chance in the body of a workflow: ordinary code, the same on every replay."""

import random
import time
from pathlib import Path
from typing import Any

import pytest

from stepwell_server import Session
from support.outside import Outside

IMPORTS = "import asyncio, concurrent.futures, datetime, os, pickle, random, secrets, tempfile, threading, time, uuid\n"
READ = """
def read():
    one, two = random.Random(), random.SystemRandom()
    now = datetime.datetime.now
    return [time.time(), time.time_ns(), time.monotonic(), time.monotonic_ns(), time.perf_counter(),
            time.perf_counter_ns(), time.process_time(), list(time.localtime()), list(time.gmtime()), time.ctime(),
            time.asctime(), time.strftime("%c"), time.clock_gettime(time.CLOCK_REALTIME), str(now()),
            str(now(datetime.UTC)), str(datetime.datetime.utcnow()), str(datetime.datetime.today()),
            str(datetime.date.today()), random.random(), random._inst.random(), random._inst.gauss(0, 1), random.choice("abcdefgh"), random.sample(range(99), 9),
            random.gauss(0, 1), one.random(), two.random(), secrets.token_urlsafe(9), secrets.randbelow(10**9),
            str(uuid.uuid1()), str(uuid.uuid4()), uuid.getnode(), os.urandom(9).hex(), os.getrandom(9).hex(),
            tempfile.mktemp(), ctx.now().isoformat(), ctx.random().random(), str(ctx.uuid())]
"""


async def run_twice(home: Path, source: str, **inputs: Any) -> Any:
    """Run to the question at the end, answer it in another session, and return the run."""
    async with Session(home) as session:
        await session.add_workflow("flow", IMPORTS + READ + source)
        run = await session.run("flow", **inputs)
        assert run.error is None, run.error
    async with Session(home) as session:
        run = await session.wait(await session.answer(run.id, "go"))
        assert run.error is None, run.error
        return run


@pytest.mark.parametrize("kind", ["async def", "def"])
@pytest.mark.asyncio
async def test_every_clock_and_source_of_chance_gives_the_same_on_a_replay(home: Path, kind: str):
    wait = "await " if kind == "async def" else ""
    source = (
        f"at_import = read()\n\n{kind} run(ctx):\n    got = [at_import, read(), read()]\n"
        f"    {wait}ctx.step('work', read)\n    got.append(read())\n"
        f"    {wait}ctx.step('keep', lambda x: x, got)\n    {wait}ctx.wait_for_user('?')\n    return got\n"
    )

    run = await run_twice(home, source)

    assert run.output == run.step_results["keep"]
    drawn = [str(item) for part in (*run.output, run.step_results["work"]) for item in part[-17:-3]]
    assert len(set(drawn)) > len(drawn) - 20  # dates and single characters come again


@pytest.mark.asyncio
async def test_the_clock_of_the_body_goes_with_what_it_waits_for(home: Path, outside: Outside):
    source = (
        "def run(ctx, base: str):\n    begin = time.time(), time.monotonic(), datetime.datetime.now()\n"
        "    ctx.sleep(0.3)\n"
        "    end = time.time(), time.monotonic(), datetime.datetime.now()\n    ctx.wait_for_user('?')\n"
        "    return [begin[0], end[0] - begin[0], end[1] - begin[1], (end[2] - begin[2]).total_seconds()]\n"
    )
    before = time.time()

    run = await run_twice(home, source, base=outside.url)

    began, *waited = run.output
    assert before - 1 < began < time.time()
    assert all(0.3 <= seconds < 60 for seconds in waited)


@pytest.mark.asyncio
async def test_branches_do_not_disturb_each_other(home: Path, outside: Outside):
    source = (
        "import json\nasync def branch(base, n):\n    got = []\n    for i in range(4):\n"
        "        got += [random.random(), str(uuid.uuid4()), random.gauss(0, 1)]\n"
        "        answer = await ctx.step(tools.fetch, url=f'{base}/gate/{n}-{i}')\n"
        "        got.append(time.time())\n    return got\n\n"
        "async def run(ctx, base: str):\n    got = await asyncio.gather(*(branch(base, n) for n in range(3)))\n"
        "    await ctx.step('keep', lambda x: x, got)\n    await ctx.wait_for_user('?')\n    return got\n"
    )
    outside.open_gate(*(f"{n}-{i}" for n in range(3) for i in range(4)))

    run = await run_twice(home, source, base=outside.url)

    assert run.output == run.step_results["keep"]
    assert len({number for branch in run.output for number in branch[::4]}) == 12


@pytest.mark.asyncio
async def test_two_runs_draw_other_numbers(home: Path):
    async with Session(home) as session:
        await session.add_workflow("flow", IMPORTS + READ + "def run():\n    return read()[18:]\n")
        one, two = await session.run("flow"), await session.run("flow")

    assert one.output[0] != two.output[0]
    assert not {str(item) for item in one.output[4:]} & {str(item) for item in two.output[4:]}


@pytest.mark.asyncio
async def test_threads_and_pools_of_plain_code_draw_the_same_numbers(home: Path):
    source = (
        "def run(ctx):\n    got = {}\n    def work(n):\n        time.sleep(0.001 * (3 - n))\n"
        "        got[n] = [random.random(), str(uuid.uuid4()), time.time(), str(datetime.datetime.now())]\n"
        "    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]\n"
        "    for thread in threads: thread.start()\n    for thread in threads: thread.join()\n"
        "    with concurrent.futures.ThreadPoolExecutor(2) as pool:\n"
        "        more = list(pool.map(lambda n: [random.random(), secrets.token_hex()], range(5)))\n"
        "    result = [got[0], got[1], got[2], more, random.random()]\n"
        "    ctx.step('keep', lambda x: x, result)\n    ctx.wait_for_user('?')\n    return result\n"
    )

    run = await run_twice(home, source)

    assert run.output == run.step_results["keep"]
    assert len({str(part[0]) for part in (*run.output[:3], *run.output[3])}) == 8


@pytest.mark.asyncio
async def test_the_types_of_datetime_stay_themselves(home: Path):
    source = (
        IMPORTS
        + """
from datetime import date, datetime as moment

class Own(moment):
    pass

class Timer:
    clock = time.monotonic

now = moment.now()
[type(now) is moment, isinstance(Own.now(), Own), isinstance(date.today(), date), type(moment.today()) is moment,
 pickle.loads(pickle.dumps(now)) == now, type(Own.utcnow()) is Own, Timer().clock() > 0, moment.now(datetime.UTC).tzinfo
 is datetime.UTC, moment.now(tz=datetime.timezone(datetime.timedelta(hours=3))).utcoffset().seconds == 10800,
 await ctx.step("same", lambda x: x, now) == now, random.Random(7).random() == random.Random(7).random()]
"""
    )
    async with Session(home) as session:
        run = await session.run_code(source)

    assert run.error is None, run.error
    assert run.output == [True] * 11


@pytest.mark.asyncio
async def test_a_generator_that_is_seeded_gives_what_it_gives_everywhere(home: Path):
    async with Session(home) as session:
        run = await session.run_code("import random\nrandom.seed(42)\n[random.random(), random.randint(1, 6)]\n")

    here = random.Random(42)
    assert run.output == [here.random(), here.randint(1, 6)]


@pytest.mark.asyncio
async def test_a_loop_that_waits_for_the_clock_ends(home: Path):
    async with Session(home) as session:
        run = await session.run_code(
            "import time\nend = time.monotonic() + 0.01\nn = 0\nwhile time.monotonic() < end:\n    n += 1\nn > 0\n"
        )

    assert run.output is True


@pytest.mark.asyncio
async def test_in_a_step_the_clock_goes_on(home: Path):
    source = IMPORTS + (
        "def work():\n    begin = time.time(), time.monotonic()\n    time.sleep(0.05)\n"
        "    return [time.time() - begin[0], time.monotonic() - begin[1]]\n\ndef run(ctx):\n    return ctx.step(work)\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow")

    assert all(0.04 < seconds < 60 for seconds in run.output)
