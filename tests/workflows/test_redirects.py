"""Redirects to a host that is not on the list: a person is asked first, and nothing goes there before or along."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_asyncio

from stepwell.errors import Forbidden, HostNeeded, ToolFailure
from stepwell.model import RunStatus
from stepwell.ports import Caller
from stepwell.tools import FromFile, NetworkPolicy, SecretRule, Secrets, open_toolbox
from stepwell_server import Session
from support.server import LOCAL_HTTP, make_home
from tools.loopback import LoopbackIsPublic, Site, Zone, call

pytestmark = pytest.mark.asyncio

FETCH = "def run(url: str) -> str:\n    return tools.fetch(url=url)\n"
ASK = """
def run(url: str) -> dict:
    return tools.http.request(method="GET", url=url, headers={"Authorization": "token", "X-Own": "1"}, body="secret")
"""


@pytest_asyncio.fixture
async def site() -> AsyncGenerator[Site, None]:
    """`/out` on 127.0.0.1, which is listed, leads to `/in` on localhost, which is not."""
    made = Site()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = cast(int, server.sockets[0].getsockname()[1])
    made.redirect("/out", made.url("/in"))
    made.echo("/in")
    async with server:
        yield made
        await made.close()


def paths(site: Site) -> list[str]:
    return [request.path for request in site.received]


@pytest.mark.parametrize(("scope", "asks_again"), [("once", True), ("workflow", False)])
async def test_a_person_is_asked_before_anything_is_sent_there(
    home: Path, site: Site, scope: Any, asks_again: bool
) -> None:
    async with Session(home) as session:
        await session.add_workflow("load", FETCH)
        run = await session.run("load", url=site.url("/out", "127.0.0.1"))
        [gate] = run.waiting_for
        assert (gate.kind, gate.person) == ("approval", True)
        assert gate.prompt == "Allow fetch to follow a redirect to localhost?"
        assert gate.context["hosts"] == ["localhost"]
        assert paths(site) == ["/out"]
        with pytest.raises(Forbidden, match="for a person"):
            await session.app.engine.decide(run.id, "approve", digest=gate.digest, via="client")
        run = await session.wait(await session.approve(run, scope=scope), 30)
        assert run.status is RunStatus.COMPLETED
        assert paths(site)[-1] == "/in"
        run = await session.run("load", url=site.url("/out", "127.0.0.1"))
        assert (run.status is RunStatus.WAITING) is asks_again
        if asks_again:
            run = await session.wait(await session.reject(run, "not there"), 30)
            assert run.status is RunStatus.REJECTED
            assert paths(site).count("/in") == 1


async def test_another_process_goes_on_without_a_doubt_and_neither_headers_nor_body_go_along(
    home: Path, site: Site
) -> None:
    async with Session(home) as session:
        await session.add_workflow("ask", ASK)
        run = await session.run("ask", url=site.url("/out", "127.0.0.1"))
        assert [wait.kind for wait in run.waiting_for] == ["approval"]
    async with Session(home) as session:
        run = await session.wait(await session.approve(run.id), 30)
    assert (run.status, run.output["status"]) == (RunStatus.COMPLETED, 200)
    first, last = site.received[0], site.received[-1]
    assert (first.path, first.headers["authorization"], first.body) == ("/out", "token", b"secret")
    assert (last.path, last.headers["host"], last.body) == ("/in", f"localhost:{site.port}", b"")
    assert not {"authorization", "x-own", "cookie", "referer"} & set(last.headers)


LATE = (
    ASK.replace("run(url", "ask(url")
    + """
def run(ctx, url: str) -> dict:
    return ctx.step("ask", ask, url, retries=1, retry_delay=0, timeout=0.3)
"""
)


async def test_a_run_that_ends_or_a_step_that_times_out_meanwhile_leaves_nothing_in_doubt(
    home: Path, site: Site
) -> None:
    async with Session(home) as session:
        await session.add_workflow("ask", ASK)
        run = await session.run("ask", url=site.url("/out", "127.0.0.1"))
        run = await session.resume(await session.cancel(run, "later"))
        assert [wait.kind for wait in run.waiting_for] == ["approval"]
        run = await session.wait(await session.approve(run), 30)
        assert (run.status, run.output["status"]) == (RunStatus.COMPLETED, 200)
        await session.add_workflow("late", LATE)
        run = await session.run("late", url=site.url("/out", "127.0.0.1"))
        assert run.error is not None
        assert (run.status, run.error.type) == (RunStatus.FAILED, "TimeoutError")
    assert paths(site).count("/in") == 1


async def test_where_no_person_can_allow_it_nobody_is_asked(tmp_path: Path, site: Site) -> None:
    async with Session(make_home(tmp_path / "home", LOCAL_HTTP + 'unlisted = "deny"\n')) as session:
        await session.add_workflow("load", FETCH)
        run = await session.run("load", url=site.url("/out", "127.0.0.1"))
        assert run.error is not None
        assert (run.status, run.error.code) == (RunStatus.FAILED, "not_allowed")
    # An address to which no connection would be made; a listed name stands for a public one here.
    site.redirect("/private", "http://10.1.2.3/")
    zone = Zone({"public.test": [["127.0.0.1"]]})
    async with open_toolbox(network=LoopbackIsPublic(("public.test",), resolve=zone.resolve)) as box:
        spec = box.admit("fetch", Caller("load", "0" * 64))
        with pytest.raises(HostNeeded) as needed:
            await call(box, "fetch", site.url("/private", "public.test"))
        assert needed.value.host == "10.1.2.3"
        with pytest.raises(ToolFailure, match="allow-list"):
            box.redirect_gate(spec, needed.value.host)
    assert "/in" not in paths(site)


async def test_a_secret_does_not_go_along_in_the_address(tmp_path: Path, site: Site) -> None:
    (tmp_path / "token").write_text("tok-12345+67890")
    site.redirect("/pass", site.url("/in?key=tok-12345%2B67890", "localhost"))
    site.redirect("/stay", site.url("/in?key=tok-12345%2B67890", "127.0.0.1"))
    secrets = Secrets({"TOKEN": SecretRule(FromFile(tmp_path / "token"), hosts=("127.0.0.1",))})
    network = NetworkPolicy(("127.0.0.1", "localhost"), allow_private=True)
    async with open_toolbox(network=network, secrets=secrets) as box:
        with pytest.raises(ToolFailure, match="with a secret in the address") as caught:
            await call(box, "fetch", site.url("/pass?key={{secret:TOKEN}}", "127.0.0.1"))
        assert (caught.value.code, paths(site)) == ("not_allowed", ["/pass"])
        await call(box, "fetch", site.url("/stay?key={{secret:TOKEN}}", "127.0.0.1"))
        assert paths(site)[1:] == ["/stay", "/in"]


async def test_a_host_that_holds_a_secret_is_not_shown_to_anybody(tmp_path: Path, site: Site) -> None:
    (tmp_path / "token").write_text("tok-1234567890")
    site.redirect("/leak", "http://tok-1234567890.example/")
    secrets = Secrets({"TOKEN": SecretRule(FromFile(tmp_path / "token"), hosts=("127.0.0.1",))})
    async with open_toolbox(network=NetworkPolicy(("127.0.0.1",), allow_private=True), secrets=secrets) as box:
        with pytest.raises(ToolFailure, match="redirects") as caught:
            await call(box, "fetch", site.url("/leak", "127.0.0.1"))
    assert not isinstance(caught.value, HostNeeded)
    assert "tok-1234567890" not in str(caught.value)
