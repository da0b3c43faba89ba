"""What a replay must find again: values, winners, the number of calls, arguments, errors."""

import json
from pathlib import Path

import pytest

from durability.scenarios.staging import Stage, staging
from stepwell.model import Run, RunStatus
from support.workers import Workers

BRANCHES = '''
"""Four branches beside each other, whose steps all have one name."""
import asyncio, json

def work(base, branch, n):
    return json.loads(tools.fetch(url=f"{base}/gate/{branch}{n}"))["read"]

async def branch(ctx, base, name):
    return [await ctx.step(work, base, name, n) for n in range(4)]

async def run(ctx, base: str):
    got = await asyncio.gather(*(branch(ctx, base, name) for name in "abcd"))
    await ctx.step("keep", lambda x: x, got)
    return got
'''


@pytest.mark.slow
@pytest.mark.asyncio
async def test_scenario_01_every_branch_keeps_its_own_values_when_timings_change(tmp_path: Path, workers: Workers):
    async with staging(tmp_path, workers) as stage:
        stage.open()
        run_id = await stage.start(BRANCHES)
        # Each life answers the branches in another order, so that positions in time are no positions in the program.
        lives = ["d0 d1 c0", "a0 a1 a2 a3 b0", "b1 c1 c2 d2 b2", "c3 d3 b3"]
        for life in lives:
            for gate in life.split():
                stage.outside.wait_for_read(gate)
                stage.outside.open_gate(gate)
                branch, n = gate
                if n != "3":
                    stage.outside.wait_for_read(f"{branch}{int(n) + 1}")
            stage.kill()
            stage.open()
        run = await stage.ended(run_id)

    assert run.output == [[f"{branch}{n}" for n in range(4)] for branch in "abcd"], run.error


RACES = {
    "wait": """
    tasks = {asyncio.create_task(get(base, name), name=name) for name in ("slow", "quick")}
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    order = [task.result() for task in done]
    await ctx.step("first", keep, base, order)
    order += [await task for task in pending]
""",
    "as_completed": """
    order = []
    for one in asyncio.as_completed([get(base, "slow"), get(base, "quick")]):
        order.append(await one)
        await ctx.step("first", keep, base, order)
""",
}


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("form", RACES)
@pytest.mark.parametrize("both", [False, True], ids=["one-recorded", "both-recorded"])
async def test_scenario_02_the_winner_of_a_race_is_the_same_on_replay(
    tmp_path: Path, workers: Workers, form: str, both: bool
):
    source = (
        "import asyncio, json\n\n"
        "async def get(base, name):\n    return json.loads(await ctx.step(name, tools.fetch, url=f'{base}/gate/{name}'))['read']\n\n"
        "def keep(base, order):\n    tools.fetch(url=f'{base}/gate/kept{len(order)}')\n    return order\n\n"
        f"async def run(ctx, base: str):{RACES[form]}    return order\n"
    )
    async with staging(tmp_path, workers) as stage:
        stage.open()
        run_id = await stage.start(source)
        stage.outside.wait_for_read("slow")
        stage.outside.open_gate("quick")
        stage.outside.wait_for_read("kept1")
        if both:
            stage.outside.open_gate("slow")
            stage.commits.wait_for("SELECT 1 FROM journal WHERE key LIKE '%slow' AND status = 'ok'")
        stage.kill()
        # Now the loser of the first life would be far ahead.
        stage.outside.open_gate("slow", "kept1", "kept2")
        run = await stage.go_on(run_id)
        results = {
            row["name"] for row in stage.journal(run_id).values() if row["status"] == "ok" and "@" not in row["key"]
        }

    assert run.output == ["quick", "slow"], run.error
    assert results == {"quick", "slow", "first"}
    assert stage.outside.reads["quick"] == 1


async def replay_otherwise(stage: Stage, bodies: dict[str, str]) -> dict[str, Run]:
    """Run bodies that do another thing in their second life, killed at their gates; return how those lives end."""
    stage.open()
    ids: dict[str, str] = {}
    for n, (name, body) in enumerate(bodies.items()):
        source = (
            "import asyncio\n\ndef work(n):\n    return n\n\n"
            f"async def run(ctx, base: str):\n    again = ctx.attempt > 1\n{body}    return 'end'\n"
        )
        ids[name] = await stage.start(source, name=f"flow_{n}")
    stage.outside.wait_for_read("gate", len(bodies))
    stage.kill()
    recorded = {run_id: stage.journal(run_id) for run_id in ids.values()}
    stage.outside.open_gate("gate")
    stage.open()
    ended = {name: await stage.ended(run_id) for name, run_id in ids.items()}
    # Nothing that was recorded is lost, or has moved to another place.
    for run_id, entries in recorded.items():
        now = stage.journal(run_id)
        for key, entry in entries.items():
            same = ("seq", "kind", "name", "digest", "value", "delivery")
            assert [now[key][name] for name in same] == [entry[name] for name in same], (run_id, key)
    assert set(stage.outside.effects.values()) <= {1}
    return ended


def diverged(run: Run) -> str:
    """Return the message of a run that left its journal."""
    assert run.status is RunStatus.FAILED, run
    assert run.error is not None
    assert run.error.type == "NonDeterminism", run.error
    return run.error.message


GATE = "    tools.fetch(url=base + '/gate/gate')\n"
OTHER_NUMBER = {
    "fewer steps": "    for n in range(2 if again else 3):\n        await ctx.step(work, n)\n    await ctx.step('last')(1)\n",
    "more steps": "    for n in range(4 if again else 3):\n        await ctx.step(work, n)\n    await ctx.step('last')(1)\n",
    "fewer calls": "    for n in range(1 if again else 2):\n        tools.curl.post(url=f'{base}/effect/e{n}', json={})\n",
    "fewer branches": "    await asyncio.gather(*(ctx.step(work, n) for n in range(2 if again else 4)))\n",
    "none": "    if again:\n        return 'short'\n    await ctx.step(work, 1)\n",
    "one loop less of two kinds": "    for n in range(2 if again else 3):\n        await ctx.step(work, n)\n        await ctx.sleep(0)\n",
}


@pytest.mark.slow
@pytest.mark.asyncio
async def test_scenario_04_another_number_of_steps_fails_and_shifts_nothing(tmp_path: Path, workers: Workers):
    async with staging(tmp_path, workers) as stage:
        ended = await replay_otherwise(stage, {name: body + GATE for name, body in OTHER_NUMBER.items()})

    for run in ended.values():
        diverged(run)


OTHER_CALL = {
    "arguments of a step": ("await ctx.step(work, 2 if again else 1)", "step:work:", "step:work:"),
    "arguments of a tool": (
        "tools.curl.post(url=base + '/effect/e', json={'n': 2 if again else 1})", "tool:curl.post:", "tool:curl.post:",
    ),
    "another tool": (
        "await ctx.step(tools.curl.get if again else tools.fetch, url=base + '/r/x', key='k')", "step:fetch:", "step:curl.get:",
    ),
    "another name": ("await ctx.step('b' if again else 'a', work, 1, key='k')", "step:a:", "step:b:"),
    "another kind": (
        "await (ctx.step('x', work, 1) if again else ctx.sleep(0, name='x'))", "timer:x:", "step:x:",
    ),
    "inputs of a child": ("workflows.invoke('kid', n=2 if again else 1)", "child:kid:", "child:kid:"),
    "a question": (
        "await (ctx.wait_for_event('x', timeout=0) if again else ctx.sleep(0, name='x'))", "timer:x:", "event:x:",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.asyncio
async def test_scenario_05_another_call_at_a_recorded_key_shows_both_sides(tmp_path: Path, workers: Workers):
    # Not even code that catches everything gets the value of the other call, or goes on.
    caught = (
        "    try:\n        got = {}\n    except Exception as error:\n        got = str(error)\n"
        + GATE
        + "    return got\n"
    )
    async with staging(tmp_path, workers) as stage:
        await stage.store("kid", "def run(n):\n    return n\n")
        ended = await replay_otherwise(stage, {name: caught.format(call) for name, (call, _, _) in OTHER_CALL.items()})

    for name, run in ended.items():
        _, was, found = OTHER_CALL[name]
        message = diverged(run)
        assert f"the journal holds {was}" in message
        assert f"the code asked for {found}" in message
        assert "line 9" in message


FIRST = "    if not again:\n        await ctx.step('gone', work, 1)\n"
NEVER_ASKED = {
    "a question": "    if again:\n        await ctx.wait_for_user('?')\n",
    "an event that nobody sets": "    if again:\n        await asyncio.Event().wait()\n",
    "a far timer": "    if again:\n        await asyncio.sleep(3600)\n",
    "a near timer": "    if again:\n        await asyncio.sleep(0.2)\n",
    "a deadline": "    if again:\n        async with asyncio.timeout(0.3):\n            await asyncio.Event().wait()\n",
    "polling": "    while again:\n        await asyncio.sleep(0)\n",
    "a branch": "    if again:\n        await asyncio.gather(ctx.wait_for_user('?'), asyncio.Event().wait())\n",
    "a child": "    if again:\n        await ctx.invoke('kid')\n",
    "a thread": "    if again:\n        await asyncio.to_thread(tools.fetch, url=base + '/r/thread')\n",
    "another step": "    if again:\n        await ctx.step('other', tools.fetch, url=base + '/r/other')\n",
    "many steps beside": "    if again:\n        await asyncio.gather(*(ctx.step(work, n) for n in range(9)))\n",
}


@pytest.mark.slow
@pytest.mark.asyncio
async def test_scenario_06_a_recorded_call_that_is_not_asked_for_again_is_found_and_nothing_hangs(
    tmp_path: Path, workers: Workers
):
    bodies = {name: FIRST + body + GATE for name, body in NEVER_ASKED.items()}
    async with staging(tmp_path, workers) as stage:
        await stage.store("kid", "def run(ctx):\n    return ctx.wait_for_user('?')\n")
        ended = await replay_otherwise(stage, bodies)

    for run in ended.values():
        assert "step:gone:" in diverged(run)


@pytest.mark.slow
@pytest.mark.asyncio
async def test_scenario_06_blocking_code_does_not_hang_either(tmp_path: Path, workers: Workers):
    source = (
        "def run(ctx, base: str):\n    if ctx.attempt == 1:\n        ctx.step('gone')(1)\n    else:\n"
        "        ctx.wait_for_user('?')\n    tools.fetch(url=base + '/gate/gate')\n"
    )
    async with staging(tmp_path, workers) as stage:
        stage.open()
        run_id = await stage.start(source)
        stage.outside.wait_for_read("gate")
        run = await stage.go_on(run_id)

    assert "step:gone:" in diverged(run)


ERRORS = '''
"""Every way in which a call fails, and all that a workflow can see of it."""
import asyncio, dataclasses, traceback

class Refused(Exception):
    def __init__(self, amount, *, why="no \\N{SNOWMAN} reason"):
        super().__init__(f"refused {amount}: {why}")
        self.amount, self.why = amount, why

class Odd(ValueError):
    def __str__(self):
        return f"odd {self.args!r}"

def raises(kind, base):
    if kind == "own":
        error = Refused(7)
        error.add_note("a note\\nof two lines")
        error.detail = {"at": [1, 2.5, None]}
        raise error
    if kind == "cause":
        try:
            try:
                {}["missing"]
            except KeyError as error:
                raise Odd(1, "two", (3,)) from error
        except Odd as error:
            raise RuntimeError("the outer one\\x1b[31m\\x00") from error
    if kind == "group":
        raise ExceptionGroup("several", [Refused(1), ExceptionGroup("inner", [KeyError("k"), OSError(2, "gone", "f")])])
    if kind == "tool":
        tools.fetch(url=base + "/r/x", method="NONE")
    if kind == "unicode":
        b"\\xff".decode()
    if kind == "result":
        return object()
    if kind == "long":
        raise ValueError("x" * 9000)
    if kind == "empty":
        raise AssertionError
    if kind == "attribute":
        return None.nothing

def shown(error, level=0):
    if error is None or level > 4:
        return None
    return {
        "type": type(error).__qualname__, "module": type(error).__module__, "str": str(error), "repr": repr(error),
        "args": repr(error.args), "notes": getattr(error, "__notes__", None), "own": repr(sorted(vars(error).items())),
        "cause": shown(error.__cause__, level + 1), "context": shown(error.__context__, level + 1),
        "suppress": error.__suppress_context__,
        "lines": traceback.format_exception(type(error), error, error.__traceback__, chain=True),
        "inside": [shown(e, level + 1) for e in getattr(error, "exceptions", ())],
    }

async def slow():
    await asyncio.sleep(60)

async def run(ctx, base: str):
    seen = []
    for kind in KINDS:
        try:
            await ctx.step(raises, kind, base)
        except Exception as error:
            seen.append(shown(error))
    calls = {
        "tool": lambda: tools.curl.post(url="not a url", json={}),
        "closed": lambda: tools.fetch(url="http://127.0.0.1:9/"),
        "unknown": lambda: tools.no_such_tool(),
        "child": lambda: ctx.invoke("kid", n=1),
        "bad child": lambda: workflows.invoke("nobody"),
        "retried": lambda: ctx.step("retried", raises, "own", base, retries=1, retry_delay=0),
        "late": lambda: ctx.step(slow, timeout=0.05),
        "event": lambda: ctx.wait_for_event("never", timeout=0),
        "approval": lambda: ctx.approve("?", timeout=0),
        "gate": lambda: ctx.step("gated", requires_approval=True)(1),
    }
    for name in calls:
        if name == "gate" and not GATED:
            continue
        try:
            await calls[name]()
        except Exception as error:
            seen.append(shown(error))
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.step("in a group", raises, "own", base))
    except* Refused as errors:
        seen.append(shown(errors))
    got = await asyncio.gather(ctx.step("gathered", raises, "cause", base), return_exceptions=True)
    seen.append(shown(got[0]))
    for n, one in enumerate(seen):
        await ctx.step("keep", lambda x: x, one, key=f"keep-{n}")
    tools.fetch(url=base + "/gate/gate")
    return seen
'''


@pytest.mark.slow
@pytest.mark.asyncio
async def test_scenario_07_errors_are_the_same_to_the_byte_after_a_kill(tmp_path: Path, workers: Workers):
    kinds = ("own", "cause", "group", "tool", "unicode", "result", "long", "empty", "attribute")
    source = ERRORS.replace("KINDS", repr(kinds)).replace("GATED", "False")
    async with staging(tmp_path, workers) as stage:
        await stage.store("kid", "def run(n):\n    raise LookupError(f'no {n}')\n")
        stage.open()
        run_id = await stage.start(source)
        stage.outside.wait_for_read("gate")
        stage.kill()
        first = [row["value"] for row in stage.journal(run_id).values() if row["name"] == "keep"]
        stage.outside.open_gate("gate")
        run = await stage.go_on(run_id)

    assert run.status is RunStatus.COMPLETED, run.error
    assert len(run.output) == len(first) > 18
    for was, now in zip(first, run.output, strict=True):
        assert json.loads(was) == now
