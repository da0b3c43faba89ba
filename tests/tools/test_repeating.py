"""Requests that are made again by themselves."""

import asyncio

import pytest

from stepwell.errors import ToolFailure
from stepwell.tools import OutcomeUnknown, open_toolbox
from tools.loopback import Received, Site, call, local

pytestmark = pytest.mark.asyncio


def fail_first(site: Site, path: str, *answers: bytes) -> None:
    """Give each answer once, none for an empty one, and then 200."""
    left = list(answers)

    async def handler(request: Received, writer: asyncio.StreamWriter) -> None:
        answer = left.pop(0) if left else b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        writer.write(answer)
        if not answer or b"close" in answer:
            writer.close()

    site.routes[path] = handler


def busy(status: str, headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\n\r\n".encode()


def times(site: Site, path: str) -> int:
    return sum(request.path == path for request in site.received)


async def test_what_may_be_repeated_is_made_again_until_it_is_answered(site: Site) -> None:
    fail_first(site, "/busy", busy("503 Busy"), b"")
    fail_first(site, "/put", b"", busy("502 Bad"))
    fail_first(site, "/limited", busy("429 Slow", "Retry-After: 0\r\n"))
    fail_first(site, "/cut", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhal")
    async with open_toolbox(network=local()) as box:
        found, cut, put, limited = await asyncio.gather(
            call(box, "fetch", site.url("/busy")),
            call(box, "fetch", site.url("/cut")),
            call(box, "http.request", "PUT", site.url("/put"), body="x"),
            call(box, "http.request", "DELETE", site.url("/limited")),
        )
    assert (found, cut, put["status"], limited["status"]) == ("ok", "ok", 200, 200)
    assert [times(site, path) for path in ("/busy", "/put", "/limited")] == [3, 3, 2]
    assert {request.body for request in site.received if request.path == "/put"} == {b"x"}


async def test_what_may_not_be_repeated_or_has_no_time_is_made_once(site: Site) -> None:
    for path in ("/post", "/patch"):
        fail_first(site, path, busy("503 Busy", "Retry-After: 0\r\n"))
    fail_first(site, "/lost", b"")
    fail_first(site, "/long", busy("503 Busy", "Retry-After: 3600\r\n"))
    fail_first(site, "/short", busy("503 Busy", "Retry-After: 10\r\n"))
    fail_first(site, "/plain", busy("429 Slow"))
    async with open_toolbox(network=local()) as box:
        for method, path, status in (
            ("POST", "/post", 503),
            ("PATCH", "/patch", 503),
            ("GET", "/long", 503),
            ("GET", "/short", 503),
            ("GET", "/plain", 429),
        ):
            assert (await call(box, "http.request", method, site.url(path), timeout=9.9))["status"] == status
        with pytest.raises(OutcomeUnknown):
            await call(box, "http.request", "POST", site.url("/lost"))
    assert len(site.received) == 6


async def test_a_request_that_is_lost_every_time_is_in_doubt_unless_it_only_reads(site: Site) -> None:
    fail_first(site, "/gone", b"", b"", b"", b"", b"", b"")
    async with open_toolbox(network=local()) as box:
        put, got = await asyncio.gather(
            call(box, "http.request", "PUT", site.url("/gone")),
            call(box, "http.request", "GET", site.url("/gone")),
            return_exceptions=True,
        )
    assert isinstance(put, OutcomeUnknown)
    assert isinstance(got, ToolFailure)
    assert got.retryable
    assert times(site, "/gone") == 6
