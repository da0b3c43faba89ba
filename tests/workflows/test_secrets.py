"""After a run with secrets nothing of them is in the database, the logs, or the memory of what ran it."""

import asyncio
import base64
import html
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from support.echo import Echo
from support.server import LOCAL_HTTP, Server, at_rest, call, make_home

VALUE = 'tok_9f&X/y+z="Qw\\%7A_0123456789'
CONFIG = """
[policy]
tools = {"http.request" = "approve"}
[secrets.TOKEN]
env = "TOKEN_OF_TESTS"
hosts = ["127.0.0.1"]
"""
SOURCE = '''"""Send a secret, keep what came back."""
from stepwell import ToolError


def run(base: str) -> dict:
    answer = tools.http.request(
        method="POST", url=base + "/echo?key={{secret:TOKEN}}", json={"token": "{{secret:TOKEN}}"},
        headers={"Authorization": "Bearer {{secret:TOKEN}}"},
    )
    print(answer)
    try:
        tools.fetch(url=base + "/error?key={{secret:TOKEN}}")
    except ToolError as error:
        print(error)
        artifacts.save("error", str(error))
    artifacts.save("answer", answer)
    artifacts.save("chunks", tools.fetch(url=base + "/chunks?key={{secret:TOKEN}}"))
    ctx.step("keep", lambda: answer["text"])
    tools.fetch(url=base + "/held")
    return {"answer": answer}
'''


def scan_forms(value: str) -> list[bytes]:
    """How a secret could be found: made here, so that a form which the product forgets is not forgotten here too."""
    data, escaped = value.encode(), json.dumps(value)[1:-1]
    forms = [value, escaped, json.dumps(escaped)[1:-1], repr(value)[1:-1], html.escape(value), data.hex()]
    forms += [quote(value), quote(value, safe=""), quote_plus(value), quote(quote(value, safe=""), safe="")]
    forms += [form.replace("%2F", "%2f").replace("%2B", "%2b") for form in (quote(value, safe=""), quote_plus(value))]
    for before in range(3):  # what stands for it wherever it stands among other bytes
        whole = base64.b64encode(b"\0" * before + data + b"\0" * (-(before + len(data)) % 3)).decode()
        inner = whole[4 if before else 0 : len(whole) - (4 if (before + len(data)) % 3 else 0)]
        forms += [inner, inner.replace("+", "-").replace("/", "_")]
    return [form.encode() for form in dict.fromkeys(forms)]


def descendants(pid: int) -> Iterator[int]:
    for name in os.listdir("/proc"):
        try:
            status = Path(f"/proc/{name}/status").read_text() if name.isdigit() else ""
        except OSError:
            continue
        if re.search(rf"^PPid:\t{pid}$", status, re.MULTILINE):
            yield int(name)
            yield from descendants(int(name))


def memory(pid: int) -> bytes:
    found = b""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as mem:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            area, mode, *_ = line.split()
            if not mode.startswith("rw"):
                continue
            start, end = (int(part, 16) for part in area.split("-"))
            try:
                mem.seek(start)
                found += mem.read(end - start)
            except (OSError, ValueError):
                continue
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/mem").exists() or os.geteuid() != 0, reason="reads memory of other processes")
@pytest.mark.asyncio
async def test_a_scan_after_a_run_finds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_OF_TESTS", VALUE)
    home = make_home(tmp_path / "home", LOCAL_HTTP + CONFIG)
    forms = scan_forms(VALUE)
    server = Server(home)
    server.start()
    with Echo().serving() as echo:
        async with server.client() as client:
            created = await call(client, "create_workflow", name="send", source="from stepwell import ctx\n" + SOURCE)
            assert created["uses"]["secrets"] == ["TOKEN"]
            run = await call(client, "invoke_workflow", name="send", arguments={"base": echo.url}, wait_seconds=30)
            [gate] = run["waiting_for"]
            assert gate["context"]["arguments"]["headers"] == {"Authorization": "Bearer {{secret:TOKEN}}"}
            await call(client, "approve_run", run_id=run["run_id"], decision="approve", digest=gate["digest"])
            assert await asyncio.to_thread(echo.holding.wait, 30)
            scanned = {pid: memory(pid) for pid in descendants(server.pid)}
            echo.release()
            run = await at_rest(client, run["run_id"])
            shown = [gate, run] + [
                await call(client, "get_run", run_id=run["run_id"], include=[part])
                for part in ("timeline", "journal", "logs", "steps", "output")
            ]
            shown += [
                await call(client, "read_artifact", run_id=run["run_id"], name=name)
                for name in ("answer", "chunks", "error")
            ]
        sent = echo.sent
    server.stop()

    assert (sent[0]["header"], sent[0]["key"], sent[1]["key"]) == (f"Bearer {VALUE}", VALUE, VALUE)
    assert run["status"] == "completed"
    assert all("[secret TOKEN]" in str(artifact) for artifact in shown[-3:])
    assert any(b"[secret TOKEN]" in data for data in scanned.values())  # the run's process is among them
    kept = {str(path): path.read_bytes() for path in home.rglob("*") if path.is_file()}
    places = {**{f"process {pid}": data for pid, data in scanned.items()}, **kept}
    places |= {"results": repr(shown).encode(), "stderr": "".join(server.errors).encode()}
    found = {(place, form) for place, data in places.items() for form in forms if form in data}
    assert found == set()
