import asyncio
from pathlib import Path

import pytest

from stepwell.errors import ToolFailure
from stepwell.tools import NetworkPolicy, OutcomeUnknown, open_toolbox
from tools.loopback import LoopbackIsPublic, Received, Site, Zone, call, local

pytestmark = pytest.mark.asyncio


def was_made(path: str) -> bool:
    return Path(path).exists()


async def test_get_returns_the_text_of_the_body(site: Site) -> None:
    site.page("/a", "grüße".encode())
    async with open_toolbox(network=local()) as box:
        assert box.problems == ()
        assert await call(box, "curl.get", url=site.url("/a")) == "grüße"
        assert await call(box, "curl.get", site.url("/a")) == "grüße"


async def test_head_returns_the_headers(site: Site) -> None:
    site.page("/a", b"body", headers={"X-Seen": "yes"})
    async with open_toolbox(network=local()) as box:
        text = await call(box, "curl.head", site.url("/a"))
    assert "X-Seen: yes" in text
    assert "body" not in text


async def test_post_sends_json_and_text_as_given(site: Site) -> None:
    site.echo("/echo")
    async with open_toolbox(network=local()) as box:
        sent = await call(box, "curl.post", site.url("/echo"), json={"a": ["@x", "ü"]})
        text = await call(box, "curl.post", site.url("/echo"), body="a\nb", headers={"content-type": "x/y"})
        empty = await call(box, "curl.post", site.url("/echo"))
    assert "content-type: application/json" in sent
    assert sent.endswith('\n\n{"a": ["@x", "ü"]}')
    assert text.endswith("\n\na\nb")
    assert "content-type: x/y" in text
    assert "text/plain" not in text
    assert empty.startswith("POST")


@pytest.mark.parametrize(
    "value", ["@/etc/passwd", "-o/tmp/x", "--config", "-", "a\nb", "a\0b", "$(id)", "`id`; id", "%{url}"]
)
async def test_a_body_is_sent_as_it_is_whatever_it_looks_like(site: Site, value: str) -> None:
    site.page("/", b"ok")
    async with open_toolbox(network=local()) as box:
        await call(box, "curl.post", site.url(), body=value)
        if value.isprintable():
            await call(box, "curl.get", site.url(), headers={"X-V": value})
            assert site.received[1].headers["x-v"] == value
    assert site.received[0].body == value.encode()


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": "-o/tmp/stepwell-hostile"},
        {"url": "--config"},
        {"url": "file:///etc/passwd"},
        {"url": "http://localhost/\nurl = file:///etc/passwd"},
        {"url": "http://localhost/\0"},
        {"url": ["http://localhost/"]},
        {"url": "http://localhost/", "headers": {"@/etc/passwd": "x"}},
        {"url": "http://localhost/", "headers": {"X": 5}},
        {"url": "http://localhost/", "timeout": "5 --config x"},
        {"url": "http://localhost/", "timeout": 0},
        {"url": "http://localhost/", "output": "/tmp/x"},
    ],
)
async def test_hostile_arguments_are_refused_before_curl_starts(arguments: dict[str, object]) -> None:
    async with open_toolbox(network=local()) as box:
        with pytest.raises(ToolFailure) as caught:
            await call(box, "curl.get", **arguments)
    assert caught.value.code == "invalid_arguments"
    assert not was_made("/tmp/stepwell-hostile")


async def test_braces_and_brackets_of_a_url_are_no_patterns(site: Site) -> None:
    site.page("/[1-3]", b"one")
    async with open_toolbox(network=local()) as box:
        assert await call(box, "curl.get", site.url("/[1-3]")) == "one"
    assert len(site.received) == 1


@pytest.mark.parametrize(("status", "retryable"), [("404 Not Found", False), ("429 Many", True), ("503 No", True)])
async def test_an_error_status_is_a_failure_with_the_beginning_of_its_body(
    site: Site, status: str, retryable: bool
) -> None:
    site.page("/a", b"\x1b[31mbecause" + b"y" * 10_000, status=status)
    async with open_toolbox(network=local()) as box:
        with pytest.raises(ToolFailure, match=status[:3]) as caught:
            await call(box, "curl.get", site.url("/a"))
    assert caught.value.code == "http_error"
    assert caught.value.retryable is retryable
    assert "because" in caught.value.message
    assert "\x1b" not in caught.value.message
    assert len(caught.value.message) < 700


async def test_a_redirect_is_not_followed_and_named(site: Site) -> None:
    site.redirect("/r", site.url("/secret"))
    site.page("/secret", b"secret")
    async with open_toolbox(network=local()) as box:
        with pytest.raises(ToolFailure, match="/secret") as caught:
            await call(box, "curl.get", site.url("/r"))
    assert caught.value.code == "http_error"
    assert [request.path for request in site.received] == ["/r"]


async def test_curl_obeys_the_allow_list_and_the_address_check() -> None:
    zone = Zone({"inside.test": [["127.0.0.1"]]})
    async with open_toolbox(network=NetworkPolicy(("*.test",), resolve=zone.resolve)) as box:
        with pytest.raises(ToolFailure, match="allow_hosts"):
            await call(box, "curl.get", "http://example.com/")
        with pytest.raises(ToolFailure, match="private or reserved"):
            await call(box, "curl.get", "http://inside.test/")


async def test_curl_connects_to_the_address_that_was_checked(site: Site) -> None:
    site.page("/", b"checked")
    zone = Zone({"rebind.test": [["127.0.0.1"], ["192.168.0.1"]]})
    async with open_toolbox(network=LoopbackIsPublic(("rebind.test",), resolve=zone.resolve)) as box:
        assert await call(box, "curl.get", site.url("/", host="rebind.test")) == "checked"
    assert zone.asked == ["rebind.test"]
    assert site.received[0].headers["host"] == f"rebind.test:{site.port}"


async def test_curl_reads_no_proxy_and_no_configuration_of_the_host(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".curlrc").write_text('header = "X-From-Rc: yes"\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CURL_HOME", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    site.echo("/echo")
    async with open_toolbox(network=local()) as box:
        assert "x-from-rc" not in await call(box, "curl.get", site.url("/echo"))


async def test_sizes_are_limited(site: Site) -> None:
    site.page("/long", b"x" * 5_000_000)
    async with open_toolbox(network=local()) as box:
        with pytest.raises(ToolFailure, match="longer than 4194304 bytes") as caught:
            await call(box, "curl.get", site.url("/long"))
    assert caught.value.code == "too_large"


async def test_a_binary_body_is_an_error(site: Site) -> None:
    site.page("/image", b"\x89PNG\x00\x01")
    async with open_toolbox(network=local()) as box:
        with pytest.raises(ToolFailure, match="not text") as caught:
            await call(box, "curl.get", site.url("/image"))
    assert caught.value.code == "binary"


async def test_a_lost_answer_is_a_failure_for_get_and_unknown_for_post(site: Site) -> None:
    done = asyncio.Event()

    async def silent(request: Received, writer: asyncio.StreamWriter) -> None:
        await done.wait()

    site.routes["/silent"] = silent
    async with open_toolbox(network=local()) as box:
        with pytest.raises(ToolFailure, match="timed out") as caught:
            await call(box, "curl.get", site.url("/silent"), timeout=0.2)
        assert (caught.value.code, caught.value.retryable) == ("timeout", True)
        with pytest.raises(OutcomeUnknown, match="timed out"):
            await call(box, "curl.post", site.url("/silent"), timeout=0.2)
    done.set()


async def test_a_refused_connection_is_a_failure_for_post_too_since_nothing_was_sent() -> None:
    async with open_toolbox(network=local()) as box:
        with pytest.raises(ToolFailure) as caught:
            await call(box, "curl.post", "http://localhost:1/", body="x")
    assert (caught.value.code, caught.value.retryable) == ("connection_failed", True)


async def test_calls_run_at_the_same_time(site: Site) -> None:
    arrived = asyncio.Barrier(3)

    async def together(request: Received, writer: asyncio.StreamWriter) -> None:
        await arrived.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    site.routes["/together"] = together
    async with open_toolbox(network=local()) as box:
        answers = await asyncio.gather(
            call(box, "curl.get", site.url("/together")),
            call(box, "curl.get", site.url("/together")),
            call(box, "fetch", site.url("/together")),
        )
    assert answers == ["ok"] * 3
