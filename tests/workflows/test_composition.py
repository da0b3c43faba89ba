"""Handles inside of a workflow: tools, other workflows, artifacts, and waits without a person."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stepwell.model import RunStatus
from stepwell.sdk import codec
from stepwell_server import Session
from support.outside import Outside

FETCH = '''
"""Fetch and parse JSON from a URL."""
import json

async def run(url: str) -> dict:
    return json.loads(tools.curl.get(url=url))
'''


@pytest.mark.row("P6", "P7", "P8", "P9")
@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.asyncio
async def test_tools_are_called_synchronously_from_both_kinds_of_workflow(home: Path, outside: Outside, kind: str):
    source = (
        f"import json\n{kind} run(base: str):\n"
        "    a = json.loads(tools.curl.get(url=base + '/a'))['read']\n"
        "    b = json.loads(tools.fetch(url=base + '/b'))['read']\n"
        "    return [a, b]\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow", base=outside.url)

    assert run.error is None
    assert run.output == ["a", "b"]


@pytest.mark.row("P7")
@pytest.mark.asyncio
async def test_tools_in_steps_run_beside_each_other_and_awaiting_a_tool_works(home: Path, outside: Outside):
    source = (
        "import asyncio, json\n"
        "async def run(ctx, base: str):\n"
        "    a, b = await asyncio.gather(ctx.step(tools.fetch, url=base + '/gate/a'),"
        " ctx.step(tools.curl.get, url=base + '/gate/b'))\n"
        "    c = await tools.fetch(url=base + '/c')\n"
        "    return [json.loads(x)['read'] for x in (a, b, c)]\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.start("flow", base=outside.url)
        await asyncio.to_thread(outside.wait_for_read, "a")
        await asyncio.to_thread(outside.wait_for_read, "b")
        outside.open_gate("a", "b")
        run = await session.wait(run)

    assert run.error is None
    assert run.output == ["a", "b", "c"]


@pytest.mark.row("P10")
@pytest.mark.asyncio
async def test_tools_can_be_listed_and_searched(home: Path):
    source = (
        "def run():\n"
        "    return {'all': [t['name'] for t in tools.list()], 'curl': [t['name'] for t in tools.curl.list()],"
        " 'found': tools.search('download a web page')[0]['name'],"
        " 'within': [t['name'] for t in tools.curl.search('send a body', limit=1)]}\n"
    )
    async with Session(home) as session:
        run = await session.run_code(source)

    assert run.error is None
    assert {"fetch", "curl.get", "curl.post"} <= set(run.output["all"])
    assert set(run.output["curl"]) <= {name for name in run.output["all"] if name.startswith("curl.")}
    assert run.output["found"] in run.output["all"]
    assert run.output["within"] == ["curl.post"]


@pytest.mark.row("P21")
@pytest.mark.asyncio
async def test_a_tool_that_fails_can_be_caught_and_an_error_reaches_the_caller_with_its_cause(home: Path):
    source = (
        "from stepwell import ToolError\n"
        "def run():\n    try:\n        tools.nothing(x=1)\n    except ToolError as error:\n"
        "        print(error.tool, error.code)\n        raise RuntimeError('no luck') from error\n"
    )
    astray = (
        "from stepwell import ToolError\n"
        "def run():\n    said = []\n    for _ in range(25):\n        try:\n            tools.curl.send(url='x')\n"
        "        except ToolError as error:\n            said.append(str(error))\n    return said\n"
    )
    async with Session(home) as session:
        run = await session.run_code(source)
        lines = [line.text for line in await session.app.engine.logs(run.id)]
        said = (await session.run_code(astray)).output

    assert run.error is not None
    assert (run.error.type, run.error.message) == ("RuntimeError", "no luck")
    assert "Near ones: curl." in said[0]
    assert "tools.list() shows all" in said[-1]  # looking for near ones takes time, of which one run has a bound
    assert run.error.cause[0].startswith("ToolError: ")
    assert lines == ["nothing unknown_tool"]


@pytest.mark.row("P17", "P18", "P19")
@pytest.mark.asyncio
async def test_workflows_invoke_each_other_in_layers(home: Path, outside: Outside):
    async with Session(home) as session:
        await session.add_workflow("fetch_json", FETCH)
        await session.add_workflow(
            "read_one", "def run(base, name):\n    return workflows.fetch_json(url=f'{base}/{name}')['read']\n"
        )
        await session.add_workflow(
            "read_all",
            "def run(base: str, names: list) -> list:\n"
            "    return [workflows.invoke('read_one', base=base, name=name) for name in names]\n",
        )
        run = await session.run("read_all", base=outside.url, names=["x", "y"])
        children = await session.app.engine.list(workflow="fetch_json")

    assert run.error is None
    assert run.output == ["x", "y"]
    assert children.total == 2


@pytest.mark.row("P17")
@pytest.mark.asyncio
async def test_unknown_workflows_and_wrong_arguments_are_errors_of_the_usual_types(home: Path):
    source = (
        "def run():\n    got = []\n"
        "    for call in (lambda: workflows.invoke('nope'), lambda: workflows.invoke('greet', nam='x')):\n"
        "        try:\n            call()\n        except (ValueError, TypeError) as error:\n"
        "            got.append(type(error).__name__)\n"
        "    got.append(workflows.invoke('greet', name='Bob'))\n    return got\n"
    )
    async with Session(home) as session:
        await session.add_workflow("greet", "def run(name: str) -> str:\n    return f'Hello, {name}!'\n")
        run = await session.run_code(source)

    assert run.error is None
    assert run.output == ["ValueError", "TypeError", "Hello, Bob!"]


@pytest.mark.row("P19")
@pytest.mark.asyncio
async def test_a_child_that_fails_is_named_and_endless_recursion_is_bounded(home: Path):
    async with Session(home) as session:
        await session.add_workflow("broken", "def run():\n    raise KeyError('x')\n")
        await session.add_workflow("parent", "def run():\n    return workflows.invoke('broken')\n")
        await session.add_workflow("again", "def run():\n    return workflows.invoke('again')\n")
        failed = await session.run("parent")
        endless = await session.run("again")

    assert failed.error is not None
    assert "'broken' failed: KeyError" in failed.error.message
    assert endless.error is not None
    assert "again -> again" in endless.error.message


@pytest.mark.row("P20")
@pytest.mark.asyncio
async def test_children_whose_ids_begin_alike_are_told_apart(home: Path, monkeypatch: pytest.MonkeyPatch):
    alike: Any = SimpleNamespace(digest=lambda place: "0123456789" + codec.digest(place))
    monkeypatch.setattr("stepwell.engine.starting.codec", alike)
    ask = "def run(ctx, n: int): return [workflows.same(n=i) for i in range(n)] + [ctx.wait_for_user('?')]\n"
    async with Session(home) as session:
        await session.add_workflow("same", "def run(n: int): return n")
        await session.add_workflow("parent", ask)
        run = await session.run("parent", n=3)
        run = await session.answer(run, "so")

    assert run.output == [0, 1, 2, "so"]


@pytest.mark.asyncio
async def test_every_run_has_a_fresh_namespace(home: Path):
    async with Session(home) as session:
        await session.add_workflow("count", "n = 0\ndef run():\n    global n\n    n += 1\n    return n\n")
        outputs = [(await session.run("count")).output for _ in range(2)]

    assert outputs == [1, 1]


@pytest.mark.row("P29")
@pytest.mark.asyncio
async def test_artifacts_of_every_kind_survive_the_session(home: Path, monkeypatch: pytest.MonkeyPatch):
    save = (
        "artifacts.save('json', {'a': [1, None]}, description='numbers')\n"
        "artifacts.save('text', 'hello')\nartifacts.save('bytes', b'\\x00\\xff')\nNone\n"
    )
    load = (
        "[artifacts.load('json'), artifacts.load('text'), artifacts.load('bytes') == b'\\x00\\xff',"
        " artifacts.load('none'), artifacts.exists('text'), [a['name'] for a in artifacts.list()],"
        " artifacts.delete('text'), artifacts.exists('text')]\n"
    )
    async with Session(home) as session:
        assert (await session.run_code(save)).error is None
    async with Session(home) as session:
        run = await session.run_code(load)
        monkeypatch.setattr("stepwell.engine.stored.MAX_LISTED", 1)
        listed = await session.run_code("artifacts.save('json', 1)\n[a['name'] for a in artifacts.list()]\n")

    assert run.error is None
    assert listed.output == ["json"]
    assert run.output == [{"a": [1, None]}, "hello", True, None, True, ["bytes", "json", "text"], True, False]


@pytest.mark.asyncio
async def test_a_sleeping_run_needs_no_process_and_wakes_in_another_one(home: Path):
    source = "async def run(ctx):\n    before = ctx.now()\n    await ctx.sleep(10)\n    return (ctx.now() - before).seconds\n"
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.start("flow")
        while run.status is RunStatus.RUNNING:
            run = await session.wait(run, 0.2)
        assert run.status is RunStatus.SLEEPING
    async with Session(home) as session:
        run = await session.wait(run, 60)

    assert run.error is None
    assert 10 <= run.output < 60


@pytest.mark.asyncio
async def test_an_event_wakes_the_runs_that_wait_for_it_once(home: Path):
    source = "async def run(ctx):\n    return await ctx.wait_for_event('paid')\n"
    async with Session(home) as session:
        await session.add_workflow("flow", source)
        run = await session.run("flow")
        first = await session.app.engine.emit("paid", {"amount": 5}, "ev-1")
        second = await session.app.engine.emit("paid", {"amount": 5}, "ev-1")
        run = await session.wait(run)

    assert run.output == {"amount": 5}
    assert (first.delivered, first.duplicate, second.duplicate) == ((run.id,), False, True)


@pytest.mark.row("P25", "P24", "P13")
@pytest.mark.asyncio
async def test_a_run_in_flight_keeps_its_version_when_the_workflow_is_replaced(home: Path):
    source = "async def run(ctx):\n    await ctx.wait_for_user('?')\n    return {}\n"
    async with Session(home) as session:
        await session.add_workflow("flow", source.format("'old'"))
        run = await session.run("flow")
        assert await session.delete_workflow("flow")
        await session.add_workflow("flow", source.format("'new'"))
        old = await session.wait(await session.answer(run, "go"))
        new = await session.run("flow")
        new = await session.wait(await session.answer(new, "go"))

    assert (old.output, new.output) == ("old", "new")
    assert old.version != new.version


@pytest.mark.asyncio
async def test_a_parent_whose_child_waits_for_a_person_needs_no_process(home: Path):
    async with Session(home) as session:
        await session.add_workflow("ask", "async def run(ctx):\n    return await ctx.wait_for_user('?')\n")
        await session.add_workflow("parent", "def run():\n    return 'got ' + workflows.invoke('ask')\n")
        run = await session.run("parent")
        assert run.status is RunStatus.WAITING
        (wait,) = run.waiting_for
        assert wait.kind == "child"
        await session.answer(wait.context["run_id"], "it")
        run = await session.wait(run, 60)

    assert run.error is None
    assert run.output == "got it"


@pytest.mark.asyncio
async def test_cancelling_a_run_ends_its_children(home: Path, outside: Outside):
    async with Session(home) as session:
        await session.add_workflow("hold", "def run(base):\n    tools.fetch(url=base + '/gate/h')\n")
        await session.add_workflow("parent", "def run(base):\n    workflows.invoke('hold', base=base)\n")
        run = await session.start("parent", base=outside.url)
        await asyncio.to_thread(outside.wait_for_read, "h")
        run = await session.cancel(run, reason="enough")
        child = (await session.app.engine.list(workflow="hold")).items[0]
        child = await session.wait(child, 60)

    assert (run.status, child.status) == (RunStatus.CANCELLED, RunStatus.CANCELLED)
    assert run.error is not None
    assert "enough" in run.error.message
