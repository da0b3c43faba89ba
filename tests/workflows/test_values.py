"""Values and exceptions on their way through steps, calls, pauses and borders, through `Session`."""

import asyncio
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from stepwell.model import RunStatus
from stepwell_server import Session
from support.outside import Outside
from support.server import LOCAL_HTTP, make_home


async def run_source(home: Path, source: str, /, **inputs: object):
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flow", source)
        return await session.run("flow", **inputs)


async def run_with_a_pause(home: Path, source: str):
    """Run to its question, then answer it from a new process of the host."""
    async with asyncio.timeout(60):
        async with Session(home) as session:
            await session.add_workflow("flow", source)
            run = await session.run("flow")
        assert run.error is None
        assert run.status is RunStatus.WAITING
        async with Session(home) as session:
            return await session.wait(await session.answer(run, "yes"))


ENUMS = """
from enum import Enum, Flag, IntEnum, StrEnum, auto

class Kind(StrEnum):
    NEW = "new-item"

class Level(IntEnum):
    HIGH = 3

class Color(Enum):
    RED = "#f00"

class Access(Flag):
    READ = auto()
    WRITE = auto()

def echo(value):
    return value

async def run(ctx, base: str = "") -> dict:
    values = [Kind.NEW, Level.HIGH, Color.RED, Access.READ | Access.WRITE, Access(0)]
    got = await ctx.step(echo, values)
    await ctx.wait_for_user("Go on?")
    return {"same": [a is b for a, b in zip(got, values)], "values": got, Color.RED: 1}
"""


@pytest.mark.asyncio
async def test_enums_and_flags_stay_members_and_leave_as_their_values(home: Path):
    run = await run_with_a_pause(home, ENUMS)

    assert run.error is None
    assert run.output == {"same": [True] * 5, "values": ["new-item", 3, "#f00", 3, 0], "#f00": 1}
    assert run.warnings == ()


@pytest.mark.asyncio
async def test_enums_reach_tools_and_other_workflows_as_their_values(home: Path, outside: Outside):
    kinds = 'from enum import StrEnum\n\nclass Kind(StrEnum):\n    NEW = "new-item"\n\n'
    child = kinds + "def run(kind: Kind, plain: str):\n    return [kind is Kind.NEW, plain]\n"
    parent = kinds + (
        "def run(base: str):\n"
        '    tools.curl.post(url=base + "/effect/kind", json={"kind": Kind.NEW})\n'
        '    return workflows.invoke("child", kind=Kind.NEW, plain=Kind.NEW)\n'
    )
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("child", child)
        await session.add_workflow("flow", parent)
        run = await session.run("flow", base=outside.url)

    assert run.error is None
    assert run.output == [True, "new-item"]


DATACLASSES = """
from dataclasses import dataclass, field
import threading

@dataclass
class Total:
    parts: list
    never: int = field(init=False)

    def __post_init__(self):
        self.sum = sum(self.parts)
        self.lock = threading.Lock()

@dataclass(frozen=True, slots=True, kw_only=True)
class Small:
    a: int

def make():
    return Total([1, 2]), Small(a=5)

async def run(ctx):
    total, small = await ctx.step(make)
    await ctx.wait_for_user("Go on?")
    return [total.sum, hasattr(total, "never"), hasattr(total, "lock"), small == Small(a=5), total]
"""


@pytest.mark.asyncio
async def test_dataclasses_come_back_with_what_they_compute(home: Path):
    run = await run_with_a_pause(home, DATACLASSES)

    assert run.error is None
    assert run.output == [3, False, False, True, {"parts": [1, 2]}]


REFUSED = [
    ("from dataclasses import dataclass\n@dataclass\nclass Box(dict):\n    a: int = 1\n", "Box()", "a dict too"),
    ("class Odd:\n    __slots__ = ()\n", "Odd()", "cannot be stored"),
    ("def deep():\n    v = []\n    for _ in range(5000): v = [v]\n    return v\n", "deep()", "nested too deep"),
    (
        "class Bad:\n    def __iter__(self): return self\n    def __next__(self): raise OSError('broken')\n",
        "{'a': Bad()}",
        "broken",
    ),
]


@pytest.mark.parametrize(("classes", "value", "message"), REFUSED)
@pytest.mark.asyncio
async def test_a_result_that_cannot_be_stored_fails_its_step_by_name(
    home: Path, classes: str, value: str, message: str
):
    source = (
        f"{classes}\ndef work():\n    return {value}\n\nasync def run(ctx):\n    return await ctx.step('odd', work)\n"
    )
    run = await run_source(home, source)

    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert message in run.error.message
    assert run.error.step == "odd"


ITERATORS = """
def total(numbers, factor=1):
    return sum(numbers) * factor

async def run(ctx):
    got = [await ctx.step(total, (n for n in [1, 2, 3]))]
    got.append(await ctx.step(total, map(int, "123")))
    got.append(await ctx.step(total, numbers=iter([1, 2, 3]), factor=2))
    got.append(await ctx.step("numbers", (n for n in [1, 2])))
    await ctx.wait_for_user("Go on?")
    return got
"""


@pytest.mark.asyncio
async def test_iterators_arrive_in_steps_with_their_items(home: Path):
    run = await run_with_a_pause(home, ITERATORS)

    assert run.error is None
    assert run.output == [6, 6, 12, [1, 2]]


EXCEPTIONS = """
import asyncio
import json

class Refused(Exception):
    def __new__(cls, one, two):
        return super().__new__(cls, one, two)

    def __init__(self, one, two):
        super().__init__(f"{one} of {two}")
        self.one = one

class Detail(Exception):
    def __init__(self, response):
        self.response = response

    def __str__(self):
        return f"HTTP {self.response.status}"

class Response:
    status = 404

def missing():
    open("/nowhere/at/all")

def undecodable():
    b"\\xff".decode()

def syntax():
    compile("a b", "f.py", "exec")

def refused():
    raise Refused(1, 2)

def detail():
    raise Detail(Response())

def local():
    class Local(Exception):
        pass
    raise Local("boom")

def key():
    return {}["k"]

def noted():
    error = ValueError("x")
    error.add_note("look here")
    raise error from KeyError("y")

def surrogate():
    raise ValueError("bad name \\udcff")

async def group():
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fail())

async def fail():
    raise Refused(3, 4)

async def run(ctx):
    got = {}
    for work in (missing, undecodable, syntax, refused, detail, local, key, noted, surrogate, group):
        try:
            await ctx.step(work)
        except Exception as error:
            got[work.__name__] = [type(error).__name__, str(error).encode("utf-8", "replace").decode()]
            if work is missing:
                got["errno"] = [error.errno, error.filename]
            if work is syntax:
                got["line"] = error.lineno
            if work is noted:
                got["notes"] = error.__notes__
            if work is group:
                got["members"] = [[type(e).__name__, str(e), e.one] for e in error.exceptions]
    live = await ctx.step("live", json.dumps(got))
    await ctx.wait_for_user("Go on?")
    return [got, json.loads(live)]
"""

EXPECTED = {
    "missing": ["FileNotFoundError", "[Errno 2] No such file or directory: '/nowhere/at/all'"],
    "errno": [2, "/nowhere/at/all"],
    "undecodable": ["UnicodeDecodeError", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"],
    "syntax": ["SyntaxError", "invalid syntax (f.py, line 1)"],
    "line": 1,
    "refused": ["Refused", "1 of 2"],
    "detail": ["StepError", "HTTP 404"],
    "local": ["StepError", "boom"],
    "key": ["KeyError", "'k'"],
    "noted": ["ValueError", "x"],
    "notes": ["look here"],
    "surrogate": ["ValueError", "bad name ?"],
    "group": ["ExceptionGroup", "unhandled errors in a TaskGroup (1 sub-exception)"],
    "members": [["Refused", "3 of 4", 3]],
}


@pytest.mark.asyncio
async def test_exceptions_of_steps_are_the_same_live_and_on_replay(home: Path):
    run = await run_with_a_pause(home, EXCEPTIONS)

    assert run.error is None
    assert run.output == [EXPECTED, EXPECTED]


ENDS = [
    ("raise Local('boom')", "run.<locals>.Local", "boom", ()),
    ("raise ValueError('bad \\udcff') from OSError(2, 'gone')", "ValueError", "bad \\udcff", ("gone",)),
]


@pytest.mark.parametrize(("line", "kind", "message", "causes"), ENDS)
@pytest.mark.asyncio
async def test_a_run_ends_with_the_type_and_text_of_what_its_step_raised(
    home: Path, line: str, kind: str, message: str, causes: tuple[str, ...]
):
    source = (
        f"def run(ctx):\n    class Local(Exception): pass\n    def work():\n        {line}\n    ctx.step('odd', work)\n"
    )
    run = await run_source(home, source)

    assert run.error is not None
    assert (run.error.type, run.error.message, run.error.step) == (kind, message, "odd")
    assert len(run.error.cause) == len(causes)
    assert all(part in cause for part, cause in zip(causes, run.error.cause, strict=True))


HOSTILE = """
import stepwell.sdk.runtime as inner

def run():
    channel = inner._bound.channel
    odd = [{"$": "int", "v": 5}, {"$": "timedelta", "v": ["a"]}, {"$": "str", "v": "!"}, {"$": 1}]
    step = {"t": "step", "key": "k", "name": "k", "attempt": 1, "final": True, "status": "ok"}
    channel.send(step | {"started": 1.0, "finished": 1.0, "value": odd})
    channel.send({"t": "done", "value": odd})
    channel.receive()
"""


@pytest.mark.asyncio
async def test_a_malformed_result_is_shown_as_it_is(home: Path):
    async with asyncio.timeout(60), Session(home) as session:
        await session.add_workflow("flow", HOSTILE)
        run = await session.run("flow")

    assert run.status is RunStatus.COMPLETED
    assert isinstance(run.output, list)
    assert run.output[0] == {"$": "int", "v": 5}
    assert run.step_results["k"] == run.output
    assert any("malformed" in warning for warning in run.warnings)


@pytest.mark.asyncio
async def test_artifacts_take_enums_and_refuse_malformed_bytes(home: Path):
    source = (
        "import stepwell.sdk.codec as codec\n"
        "from enum import StrEnum\n\n"
        'class Name(StrEnum):\n    REPORT = "report"\n\n'
        "class Raw:\n    pass\n\n"
        'codec._ENCODERS[Raw] = lambda value, encode: {"$": "bytes", "v": "!"}\n\n'
        "def run():\n"
        "    artifacts.save(Name.REPORT, b'data', metadata={'kind': Name.REPORT})\n"
        "    try:\n"
        "        artifacts.save('odd', Raw())\n"
        "    except ValueError as error:\n"
        "        return [artifacts.load('report'), artifacts.list()[0]['metadata'], str(error)]\n"
    )
    run = await run_source(home, source)

    assert run.error is None
    assert isinstance(run.output, list)
    assert run.output[0] == {"base64": "ZGF0YQ=="}
    assert run.output[1] == {"kind": "report"}
    assert "no base64" in run.output[2]


ODD = """
from stepwell import ToolError

def send(name):
    return tools.http.request("POST", url + name, body="x")["json"]

def run(address: str) -> list:
    global url
    url = address
    try:
        return [send("half"), send("deep")]
    except ToolError as error:
        return [error.code, str(error)]
"""


@pytest.mark.asyncio
@pytest.mark.parametrize("secrets", ["", '[secrets.S]\nenv = "HOME_OF_S"\nhosts = ["127.0.0.1"]\n'])
async def test_an_answer_that_no_journal_can_hold_is_an_answer_all_the_same(
    home: Path, outside: Outside, secrets: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME_OF_S", "s3cret-value")
    make_home(home, LOCAL_HTTP + secrets)
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]
    answers = {"half": {"cut": "to \ud83d"}, "deep": deep}
    with patch.object(outside, "effect", lambda path, _: answers[path.rpartition("/")[2]]):
        async with Session(home) as session:
            await session.add_workflow("odd", ODD)
            run = await session.run("odd", address=outside.url + "/effect/")
            await session.add_workflow("half", ODD.replace(', send("deep")', ""))
            half = await session.run("half", address=outside.url + "/effect/")
    assert (run.status, run.output[0]) == ("completed", "bad_answer")
    assert "nested too deeply" in run.output[1]
    assert half.output == [{"cut": "to \ufffd"}]
