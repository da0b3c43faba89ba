"""Tools of MCP servers that run as child processes."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from stepwell.errors import ToolFailure
from stepwell.model import JsonObject
from stepwell.ports import Binary
from stepwell.tools import OutcomeUnknown, Toolbox, open_toolbox
from stepwell.tools.upstream import McpServer
from tools.loopback import CONTEXT, call

RAW = Path(__file__).parent.parent / "support" / "raw_server.py"


def raw(name: str = "raw", /, *, timeout_s: float = 20.0, start_s: float = 20.0, **options: Any) -> McpServer:
    words = tuple(f"{key}={value}" for key, value in options.items())
    return McpServer(name, sys.executable, ("-I", "-S", str(RAW), *words), timeout_s=timeout_s, start_s=start_s)


def box_of(*servers: McpServer, kept: Path | None = None) -> AbstractAsyncContextManager[Toolbox]:
    return open_toolbox(servers=servers, kept=kept)


async def use(box: Toolbox, name: str, /, **kwargs: Any) -> Any:
    await box.prepare(name)
    if box.find_tool(name) is None:
        raise await box.missing(name)
    return await call(box, name, **kwargs)


async def failing(box: Toolbox, name: str, /, **kwargs: Any) -> ToolFailure:
    with pytest.raises(ToolFailure) as caught:
        await use(box, name, **kwargs)
    return caught.value


@pytest_asyncio.fixture(scope="module")
async def shared() -> AsyncGenerator[Toolbox, None]:
    async with box_of(raw()) as box:
        yield box


def lines(path: Path, word: str) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.startswith(word)] if path.exists() else []


@pytest.mark.asyncio
async def test_a_server_is_started_by_its_first_call_and_ends_with_the_toolbox(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with box_of(raw(log=log)) as box:
        assert not log.exists()
        assert await use(box, "raw.shout", text="hi") == "HI"
        assert await use(box, "raw.shout", text="again") == "AGAIN"
        (start,) = lines(log, "start")
        pid = int(start.split()[1])
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.asyncio
async def test_results_are_values(shared: Toolbox) -> None:
    assert await use(shared, "raw.numbers") == {"n": 1, "$": "dollar", "big": 2**70}
    assert await use(shared, "raw.wrapped") == 7
    assert await use(shared, "raw.nothing") is None
    assert await use(shared, "raw.controls") == "a\x00b\u202ec"


@pytest.mark.asyncio
async def test_bytes_are_kept_as_artifacts(shared: Toolbox) -> None:
    saved: list[Binary] = []

    async def save(binary: Binary) -> JsonObject:
        saved.append(binary)
        return {"artifact": "a.png", "size": len(binary.data)}

    await shared.prepare("raw.picture")
    spec = shared.find_tool("raw.picture")
    assert spec is not None
    assert await shared.call(spec, {}, replace(CONTEXT, save=save)) == [
        {"type": "text", "text": "Look:"},
        {"type": "image", "artifact": "a.png", "size": 11},
    ]
    assert saved == [Binary(b"\x89PNG pixels", "image/png")]


@pytest.mark.asyncio
async def test_names_that_are_no_identifiers_are_mapped(shared: Toolbox) -> None:
    await shared.prepare()
    specs = {spec.name: spec for spec in shared.list_tools()}
    assert specs["raw.note_twice"].origin == "MCP server raw, tool note-twice"
    assert specs["raw.evil_name"].description == "Ends here.gnp.exe [31m"
    assert {"raw.import_", "raw.list_"} <= specs.keys()
    assert await use(shared, "raw.import_") == "import {}"
    assert await use(shared, "raw.note_twice", text="x") == "noted x"


@pytest.mark.asyncio
async def test_annotations_say_what_may_be_repeated_and_what_needs_approval(shared: Toolbox) -> None:
    await shared.prepare()
    specs = {spec.name: spec for spec in shared.list_tools()}
    facts = {
        name: (specs[f"raw.{name}"].read_only, specs[f"raw.{name}"].idempotent, specs[f"raw.{name}"].policy)
        for name in ("shout", "note", "note_twice", "erase", "silent_note")
    }
    assert facts == {
        "shout": (True, False, "allow"),
        "note": (False, False, "allow"),
        "note_twice": (False, True, "allow"),
        "erase": (False, False, "approve"),
        "silent_note": (False, False, "allow"),
    }


@pytest.mark.asyncio
async def test_arguments_are_checked_before_the_call(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with box_of(raw(log=log)) as box:
        failure = await failing(box, "raw.note", text=5)
        assert (failure.code, failure.message) == (
            "invalid_arguments",
            "raw.note: text must be str, got int 5. Call it as tools.raw.note(text: str) -> Any",
        )
        assert lines(log, "note") == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "arguments", "code", "said"),
    [
        ("fail", {}, "tool_error", "raw.fail: the disk is full[31m"),
        ("refuse", {}, "invalid_arguments", "refuse: not like that"),
        ("huge", {"bytes": 17 * 1024 * 1024}, "too_large", "huge: its answer is longer than 16777216 bytes"),
        ("unstructured", {}, "bad_answer", "its result is not what the tool declares: it has no structured content"),
        ("broken_json", {}, "bad_answer", "broken_json: its answer is no valid JSON"),
        ("malformed", {}, "bad_answer", "malformed: its answer is no valid result: "),
        ("nobody", {}, "unknown_tool", "there is no tool 'raw.nobody'."),
    ],
)
async def test_errors_say_what_is_wrong(
    shared: Toolbox, name: str, arguments: dict[str, Any], code: str, said: str
) -> None:
    failure = await failing(shared, f"raw.{name}", **arguments)
    assert failure.code == code
    assert said in failure.message
    assert await use(shared, "raw.shout", text="still there") == "STILL THERE"


@pytest.mark.asyncio
async def test_a_result_that_is_not_what_its_tool_declares_says_which_field(tmp_path: Path) -> None:
    server = raw(log=tmp_path / "log")
    async with box_of(server) as box:
        failure = await failing(box, "raw.misfit", text="5")
        assert (failure.code, failure.retryable) == ("bad_answer", False)
        assert failure.message == (
            "raw.misfit: the call was made, and its result is not what the tool declares: count must be int, got str '5'"
        )
        assert lines(tmp_path / "log", "misfit") == ['misfit {"text": "5"}']
    # What counts is the newest listing: the one that was kept may be of an older server.
    kept = tmp_path / "kept"
    async with box_of(server, kept=kept) as box:
        await box.prepare()
    listing = kept / "raw.json"
    listing.write_text(listing.read_text().replace('"result":{"type":"integer"}', '"result":{"type":"string"}'))
    async with box_of(server, kept=kept) as box:
        assert await use(box, "raw.wrapped") == 7


@pytest.mark.asyncio
async def test_progress_of_a_call_is_passed_on(shared: Toolbox) -> None:
    await shared.prepare("raw.slow_copy")
    spec = shared.find_tool("raw.slow_copy")
    assert spec is not None
    told: list[tuple[float | None, float | None, str]] = []
    context = replace(CONTEXT, tell=lambda *said: told.append(said))
    assert await shared.call(spec, {}, context) == "copied"
    assert told[0] == (0.0, 50.0, "file 0")


@pytest.mark.asyncio
async def test_lines_that_are_no_messages_are_passed_over(shared: Toolbox) -> None:
    assert await use(shared, "raw.garbage") == "after the garbage"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("name", "value"),
    [("loops", "a"), ("remote", "a"), ("odd", "a"), ("wrong_schema", "a"), ("regex", "a" * 40 + "b"), ("names", "a")],
)
async def test_a_schema_that_cannot_be_checked_is_the_servers_business(shared: Toolbox, name: str, value: str) -> None:
    if name == "names":
        assert (await use(shared, "raw.names", **{"a" * 40 + "b": 1})).startswith("names")
    elif name == "regex":
        assert "x must match" in (await failing(shared, "raw.regex", x=value)).message
    else:
        assert await use(shared, f"raw.{name}", x=value) == f'{name} {{"x": "{value}"}}'


@pytest.mark.asyncio
async def test_a_call_that_only_reads_is_made_again_when_its_server_dies(tmp_path: Path) -> None:
    log, mark = tmp_path / "log", tmp_path / "mark"
    async with box_of(raw(log=log)) as box:
        assert await use(box, "raw.die_once", text=str(mark)) == "alive"
        assert len(lines(log, "start")) == 2
        failure = await failing(box, "raw.die")
        assert (failure.code, failure.retryable) == ("connection_failed", True)
        assert await use(box, "raw.shout", text="up") == "UP"


@pytest.mark.asyncio
async def test_a_call_that_may_have_had_its_effect_is_not_repeated(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with box_of(raw(log=log)) as box:
        with pytest.raises(OutcomeUnknown, match="the connection ended before the answer"):
            await use(box, "raw.die_noting", text="once")
        assert len(lines(log, "die_noting")) == 1
    async with box_of(raw(log=log, timeout_s=0.3)) as box:
        with pytest.raises(OutcomeUnknown, match=r"no answer within 0\.3 s"):
            await use(box, "raw.silent_note", text="once")
        assert (await failing(box, "raw.silent")).code == "timeout"


@pytest.mark.asyncio
async def test_a_server_that_was_killed_between_two_calls_is_started_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    async with box_of(raw(log=log)) as box:
        await use(box, "raw.note", text="one")
        os.kill(int(lines(log, "start")[0].split()[1]), signal.SIGKILL)
        async with asyncio.timeout(60):
            while True:  # until its end is seen, a call may still go out to it
                try:
                    assert await use(box, "raw.note", text="two") == "noted two"
                    break
                except OutcomeUnknown:
                    continue
        assert len(lines(log, "start")) == 2


@pytest.mark.asyncio
async def test_a_server_that_does_not_come_up_blocks_no_other(tmp_path: Path) -> None:
    servers = (
        raw("good"),
        raw("dead", start="fail"),
        raw("mute", start="hang", start_s=0.3),
        McpServer("gone", str(tmp_path / "no-such-command")),
        McpServer("unset", "${NO_SUCH_VARIABLE}/bin/server"),
        McpServer("fetch", sys.executable, ("-c", "print('what')")),
    )
    async with box_of(*servers) as box:
        said = {
            "dead.x": "cannot come up: no licence",
            "mute.x": "gave no first answer within 0.3 s",
            "gone.x": "No such file or directory",
            "unset.x": "the environment variable NO_SUCH_VARIABLE is not set",
        }
        for name, text in said.items():
            failure = await failing(box, name)
            assert (failure.code, failure.retryable) == ("not_started", True)
            assert text in failure.message
        assert await use(box, "good.shout", text="fine") == "FINE"
        await box.prepare()
        problems = "\n".join(box.problems)
        assert all(f"MCP server {name}: " in problems for name in ("dead", "mute", "gone", "unset"))
        assert "fetch: the name is taken by another tool, so its tools are reached as tools.fetch_2" in problems


@pytest.mark.asyncio
async def test_a_change_of_the_listing_is_heard(tmp_path: Path) -> None:
    async with box_of(raw()) as box:
        await box.prepare()
        assert box.find_tool("raw.grown") is None
        await use(box, "raw.grow")
        async with asyncio.timeout(60):
            while box.find_tool("raw.grown") is None:
                await asyncio.sleep(0.01)
                await box.prepare("raw.grown")
        assert await use(box, "raw.grown") == "grown {}"


@pytest.mark.asyncio
async def test_a_listing_is_kept_so_that_nothing_waits_for_it(tmp_path: Path) -> None:
    kept, log = tmp_path / "kept", tmp_path / "log"
    server = raw(log=log, tools=5000, page=700)
    async with box_of(server, kept=kept) as box:
        await box.prepare()
        assert len([spec for spec in box.list_tools() if spec.name.startswith("raw.more_")]) == 5000
    assert len(lines(log, "start")) == 1
    async with box_of(server, kept=kept) as box:
        await box.prepare()
        found = await box.search_tools("number 4321", 1)
        assert found.items[0].spec.name == "raw.more_04321"
    assert len(lines(log, "start")) == 1
    other = replace(server, args=(*server.args, "other=1"))
    async with box_of(other, kept=kept) as box:
        assert box.find_tool("raw.more_00001") is None
    (kept / "raw.json").write_text("{")
    async with box_of(server, kept=kept) as box:
        await box.prepare("raw.more_00001")
        assert box.find_tool("raw.more_00001") is not None
