"""Installing that takes long, is killed, or is looked after by an operator; and the clients that wait for it."""

import asyncio
import os
import socket
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.processes import COMMAND, Stepwell
from confined import until
from mcp_clients import in_memory
from packages.test_runs import HELPER
from packages.wheels import make_wheel, source
from stepwell.packages import Shelf
from stepwell_server.surface import preparing

pytestmark = pytest.mark.slow

WORD = source("import helper\n\ndef run() -> str:\n    return helper.WORD\n", "helper")


@contextmanager
def index_that_hangs() -> Generator[tuple[str, threading.Event]]:
    """Give the address of an index that takes a request and never answers, and what is set when one has come."""
    asked = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def hold() -> None:
            try:
                while True:
                    held.append(server.accept()[0])
                    asked.set()
            except OSError:
                return

        thread = threading.Thread(target=hold)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/simple", asked
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in held:
                connection.close()


@pytest.mark.asyncio
async def test_what_a_killed_process_leaves_is_swept_and_its_installer_dies_with_it(home: Path, wheels: Path):
    environments = home / "environments"
    file = home.parent / "word.py"
    file.write_text(WORD)
    with index_that_hangs() as (address, asked):
        (wheels.parent / "uv.toml").write_text(f'[[index]]\nurl = "{address}"\ndefault = true\n')
        environment = {**os.environ, "STEPWELL_HOME": str(home), "PIP_INDEX_URL": address}
        del environment["PIP_NO_INDEX"]
        killed = await asyncio.create_subprocess_exec(*COMMAND, "create", str(file), env=environment)
        assert await asyncio.to_thread(asked.wait, 60)
        (left,) = environments.glob(".new-*")
        killed.kill()
        await killed.wait()
        marker = str(left).encode()

        def installers() -> list[str]:
            found: list[str] = []
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    if marker in (process / "environ").read_bytes():
                        found.append(process.name)
                except OSError:
                    continue
            return found

        await until(lambda: not installers())
    assert left.exists()
    assert Shelf(environments).list() == []

    make_wheel(wheels, "helper", HELPER)
    (wheels.parent / "uv.toml").write_text(f'no-index = true\nfind-links = ["{wheels}"]\n')
    stepwell = Stepwell(home)
    assert stepwell("create", str(file)).code == 0
    assert not left.exists()
    assert stepwell("run", "word").out.strip() == "Hello"


@pytest.mark.asyncio
async def test_a_client_is_told_to_call_again_and_then_has_its_workflow(
    home: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
):
    make_wheel(wheels, "helper", HELPER)
    told: list[str | None] = []
    may_install = asyncio.Event()
    turn = Shelf.turn

    @asynccontextmanager
    async def turn_later(shelf: Shelf, key: str) -> AsyncGenerator[None]:
        await may_install.wait()
        async with turn(shelf, key):
            yield

    def hold_up() -> None:
        may_install.clear()
        monkeypatch.setattr(preparing, "PATIENCE_S", 0.2)

    def go_on() -> None:
        may_install.set()
        monkeypatch.setattr(preparing, "PATIENCE_S", 20.0)

    monkeypatch.setattr(Shelf, "turn", turn_later)
    hold_up()

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        told.append(message)

    async with in_memory(home, "auto") as client:
        answers: list[dict[str, Any]] = []
        while not answers or "preparing" in answers[-1]:
            asked = await client.call_tool("create_workflow", {"name": "word", "source": WORD}, progress_callback=tell)
            assert not asked.is_error, asked
            answers.append(asked.structured_content or {})
            go_on()
        first, last = answers[0], answers[-1]
        assert first["created"] is False
        assert "call create_workflow again" in first["next"].lower()
        assert last["created"] is True
        assert last["packages"]["locked"] == ["helper 1.0"]
        run = await client.call_tool("invoke_workflow", {"name": "word", "arguments": {}})
        assert (run.structured_content or {})["output"] == "Hello"
        shown = (await client.call_tool("get_workflow", {"name": "word"})).structured_content or {}
        assert (shown["packages"]["declared"], shown["packages"]["state"]) == (["helper"], "locked")
        refused = await client.call_tool("create_workflow", {"name": "no", "source": source("def run(): ...", "other")})
        assert refused.is_error
        error = (refused.structured_content or {})["error"]
        assert (error["code"], "[packages]\nallow = [" in error["hint"]) == ("package_refused", True)
        make_wheel(wheels, "clocked", {"clocked.py": "x = 1\n"})
        hold_up()
        code = {"code": source("import clocked\nclocked.x", "clocked")}
        ran = [await client.call_tool("run_code", code)]
        go_on()
        while "preparing" in (ran[-1].structured_content or {}):
            ran.append(await client.call_tool("run_code", code))
        first, last = ran[0].structured_content or {}, ran[-1].structured_content or {}
        assert "call run_code again" in first["next"].lower()
        runs = (await client.call_tool("list_runs", {"workflow": "run_code"})).structured_content or {}
        assert (last["output"], runs["total"]) == (1, 1)
        lost = await client.call_tool("run_code", {"code": "import helper\nhelper.WORD"})
        hint = (lost.structured_content or {})["error"]["hint"]
        assert '# dependencies = ["helper"]' in hint


def test_an_operator_sees_what_is_installed_and_deletes_what_nothing_uses(home: Path, wheels: Path, tmp_path: Path):
    make_wheel(wheels, "helper", HELPER)
    make_wheel(wheels, "clocked", {"clocked.py": "x = 1\n"})
    stepwell = Stepwell(home)
    files = {"word": WORD, "other": source("import clocked\ndef run() -> int:\n    return clocked.x\n", "clocked")}
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
        assert stepwell.here("create", str(tmp_path / f"{name}.py")).code == 0
    shown = stepwell.here("get", "word", "--output", "json").data["packages"]
    other = stepwell.here("get", "other", "--output", "json").data["packages"]
    assert shown["locked"] == ["helper 1.0"]
    stepwell.here("delete", "other", "--yes")
    old = 10_000
    os.utime(home / "environments" / other["environment"], (old, old))
    os.utime(home / "environments" / shown["environment"], (old, old))
    assert stepwell.here("gc", "--output", "json").data["environments"] == 0  # a version keeps it for a while
    done = stepwell.here("gc", "--older-than", "0s", "--output", "json").data
    assert (done["environments"], done["versions"]) == (1, 1)
    found = {check["text"] for check in stepwell.here("doctor", "--output", "json").data["checks"]}
    assert any("1 environments" in text for text in found)
    assert any(text.startswith("clocked, greeting>=1, helper") for text in found)
    assert [item.id for item in Shelf(home / "environments").list()] == [shown["environment"]]
    assert stepwell.here("run", "word").out.strip() == "Hello"
