"""Each limit of a run, crossed: the run ends, and is told which it was, its value, and who can raise it."""

import asyncio
from pathlib import Path

import pytest

from stepwell.errors import InvalidSource
from stepwell.model import Run, RunStatus
from stepwell_sandbox import levels
from stepwell_server import Session
from support.outside import Outside
from support.server import LOCAL_HTTP, make_home

pytestmark = pytest.mark.asyncio

# What is set, what the workflow does, and a part of what is said.
OVER = {
    "memory_bytes": ("'128 MiB'", "def run():\n    return len(bytearray(400 * 1024 * 1024))", "128 MiB"),
    "cpu_s": ("1", "def run():\n    while True: pass", "cpu_s = 1"),
    "wall_s": ("0.3", "import time\nasync def run(ctx):\n    await ctx.step('doze', time.sleep, 20)", "wall_s = 0.3"),
    "threads": (
        "6",
        "import threading, time\ndef run():\n"
        "    for _ in range(9): threading.Thread(target=time.sleep, args=(5,), daemon=True).start()",
        "threads = 6",
    ),
    "open_files": ("20", "def run():\n    return len([open(f'f{n}', 'w') for n in range(99)])", "open_files = 20"),
    "file_bytes": ("'1 MiB'", "def run():\n    open('a', 'wb', 0).write(b'x' * 1_500_000)\n"
                   "    open('a', 'ab', 0).write(b'x')", "1 MiB"),
    "scratch_bytes": (
        "'1 MiB'",
        "import time\ndef run():\n    for n in range(9): open(f'f{n}', 'wb').write(b'x' * 400_000)\n"
        "    time.sleep(1)\n    while True: pass",
        "1 MiB",
    ),
    "frame_bytes": ("100_000", "async def run(ctx):\n    return await ctx.step('load', lambda: 'x' * 200_000)", "'load'"),
    "total_bytes": (
        "100_000",
        "async def run(ctx):\n    for _ in range(9): await ctx.step('load', lambda: 'x' * 20_000)",
        "total_bytes = 100000",
    ),
    "pending_calls": (
        "5",
        "async def run(ctx):\n    await ctx.parallel(*[ctx.wait_for_event('e') for _ in range(9)])",
        "pending_calls = 5",
    ),
    "journal_entries": ("9", "async def run(ctx):\n    for n in range(20): await ctx.step('s', n)", "journal_entries = 9"),
    "journal_bytes": (
        "100_000",
        "async def run(ctx):\n    for _ in range(9): await ctx.step('load', lambda: 'x' * 20_000)",
        "journal_bytes = 100000",
    ),
}  # fmt: skip
RETRIES = "options = dict(retries=5, retry_delay=0.01, limits=dict({name}={value}))\n"


@pytest.mark.slow
@pytest.mark.own_sandbox
@pytest.mark.parametrize("level", ["A", "B"])
async def test_a_crossed_limit_ends_the_run_and_is_named(
    tmp_path: Path, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(levels, "LEVELS", {level: levels.LEVELS[level]})
    async with asyncio.timeout(60), Session(make_home(tmp_path / "home")) as session:
        for name, (value, source, _) in OVER.items():
            await session.add_workflow(f"over_{name}", RETRIES.format(name=name, value=value) + source)
        started = {name: await session.start(f"over_{name}") for name in OVER}
        ended = {name: await session.wait(run, 60) for name, run in started.items()}

    assert {run.sandbox_level for run in ended.values()} == {level}
    for name, run in ended.items():
        assert (name, run.status, run.attempts) == (name, RunStatus.FAILED, 1)  # a limit is not tried again
        assert run.error is not None
        assert run.error.code == "limit_exceeded", name
        assert name in run.error.message
        assert OVER[name][2] in run.error.message
        assert f"options set it (limits=dict({name}=...)" in run.error.hint
        assert "this server allows" in run.error.hint


async def run_with(home: Path, source: str, name: str = "flow") -> Run:
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow(name, source)
        return await session.run(name)


async def test_an_operators_limit_says_where_it_is_set(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", '[limits]\njournal_entries = 9\nmemory_bytes = "128 MiB"\n')
    run = await run_with(home, OVER["journal_entries"][1])
    assert run.error is not None
    assert "operator can raise journal_entries under [limits] in stepwell.toml" in run.error.hint
    run = await run_with(
        home, "async def run(ctx):\n    await ctx.step('eat', lambda: bytearray(10**9), retries=2)", "eats"
    )
    assert run.error is not None
    assert (run.error.type, run.error.code, run.error.step) == ("MemoryError", "limit_exceeded", "eat")
    assert "memory_bytes = 134217728 (128 MiB)" in run.error.message


async def test_a_limit_that_the_workflow_handles_does_not_end_it(home: Path) -> None:
    source = "def run():\n    try:\n        bytearray(10**10)\n    except MemoryError:\n        return 'smaller'\n"
    assert (await run_with(home, source)).output == "smaller"


GIVES_UP = """
import asyncio
options = dict(limits=dict(pending_calls=4))
async def run(ctx):
    for n in range(9):
        asked = asyncio.ensure_future(ctx.wait_for_event(f"e{n}"))
        await ctx.step(f"s{n}", lambda: n)
        asked.cancel()
        await asyncio.wait({asked})
    return n
"""


async def test_calls_that_are_given_up_do_not_count_as_waiting(home: Path) -> None:
    async with Session(home) as session:
        run = await session.run_code(GIVES_UP)
    assert (run.status, run.output) == (RunStatus.COMPLETED, 8)


async def test_a_workflow_lowers_limits_and_cannot_raise_them(home: Path) -> None:
    body = "def run(): return 1\n"
    async with Session(home) as session:
        with pytest.raises(InvalidSource) as caught:
            await session.add_workflow("greedy", f"options = dict(\n    limits=dict(cpu_s=60 * 60),\n)\n{body}")
        assert (caught.value.line, "cpu_s = 3600, more than the 60" in caught.value.message) == (2, True)
        assert "operator can raise cpu_s under [limits]" in caught.value.hint
        for limits, said in (
            ("dict(memory='1 GiB')", "no limit 'memory'"),
            ("dict(cpu_s='many')", "cpu_s is a whole number"),
            ("dict(memory_bytes='much')", "is no size"),
            ("dict(memory_bytes=5)", "at least 67108864 (64 MiB)"),
            ("7", "limits is a dict"),
        ):
            with pytest.raises(InvalidSource, match="options: ") as caught:
                await session.add_workflow("wrong", f"options = dict(limits={limits})\n{body}")
            assert said in caught.value.message
        source = f"from stepwell import workflow\n@workflow(limits={{'cpu_s': 5}}, timeout=2 * 60)\n{body}"
        await session.add_workflow("modest", source)
        assert (await session.app.catalog.get("modest")).version.options == {"limits": {"cpu_s": 5}, "timeout": 120}
        created = await session.app.catalog.create("long", f"options = dict(timeout=24 * 3600)\n{body}")
        assert [(item.code, item.line) for item in created.warnings if "timeout" in item.code] == [("timeout_cut", 1)]
        assert (await session.run("long")).output == 1


async def test_waits_spend_no_wall_time_and_tools_do(tmp_path: Path, outside: Outside) -> None:
    home = make_home(tmp_path / "home", LOCAL_HTTP + "[limits]\nwall_s = 3\n")
    async with asyncio.timeout(90), Session(home) as session:
        await session.app.sandbox.report()  # it has started
        await session.add_workflow("dozes", "async def run(ctx):\n    await ctx.sleep(3.5)\n    return 'rested'")
        await session.add_workflow("parent", "async def run(ctx):\n    return await ctx.invoke('dozes')")
        await session.add_workflow("calls", "def run(base):\n    return tools.fetch(url=base + '/gate/never')")
        parent, calls = await session.start("parent"), await session.start("calls", base=outside.url)
        assert (await session.wait(parent)).output == "rested"
        error = (await session.wait(calls)).error
        assert error is not None
        assert "wall_s = 3" in error.message


@pytest.mark.slow
async def test_cpu_time_adds_up_over_the_processes_of_a_run(tmp_path: Path) -> None:
    source = """
import time

async def run(ctx):
    for n in range(9):
        began = time.process_time()
        await ctx.step("burn", burn)
        await ctx.wait_for_user("On?")

def burn():
    began = time.process_time()
    while time.process_time() < began + 0.9:
        pass
"""
    async with asyncio.timeout(60), Session(make_home(tmp_path / "home", "[limits]\ncpu_s = 2\n")) as session:
        await session.add_workflow("burns", source)
        run = await session.run("burns")
        rounds = 0
        while run.status is RunStatus.WAITING:
            rounds += 1
            run = await session.answer(run, "yes")
            run = await session.wait(run)
        assert 1 <= rounds < 9  # each process alone is far below the limit
        assert run.error is not None
        assert (run.error.code, "cpu_s = 2" in run.error.message) == ("limit_exceeded", True)
