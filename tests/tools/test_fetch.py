import asyncio
import base64
import gzip
import ssl
import subprocess
import zlib
from pathlib import Path

import pytest

from stepwell.errors import ToolFailure
from stepwell.ports import KeyPlace
from stepwell.tools import NetworkPolicy, OutcomeUnknown, ToolRules, open_toolbox
from stepwell.tools.connect import open_client
from tools.loopback import LoopbackIsPublic, Received, Site, Zone, call, local

pytestmark = pytest.mark.asyncio


async def test_fetch_returns_the_text_of_a_page(site: Site) -> None:
    site.page("/a", "grüße".encode())
    async with open_toolbox(network=local()) as box:
        assert await call(box, "fetch", site.url("/a")) == "grüße"


async def test_fetch_decodes_by_the_declared_charset_and_replaces_what_does_not_decode(site: Site) -> None:
    site.page("/latin", "grüße".encode("latin-1"), headers={"Content-Type": "text/html; charset=ISO-8859-1"})
    site.page("/broken", b"a\xffb", headers={"Content-Type": "text/html"})
    site.page("/odd", b"plain", headers={"Content-Type": "text/html; charset=unicode_escape"})
    site.page("/wide", "wide".encode("utf-16"), headers={"Content-Type": "text/html; charset=utf-16"})
    async with open_toolbox(network=local()) as box:
        assert await call(box, "fetch", site.url("/latin")) == "grüße"
        assert await call(box, "fetch", site.url("/broken")) == "a\ufffdb"
        assert await call(box, "fetch", site.url("/odd")) == "plain"
        assert await call(box, "fetch", site.url("/wide")) == "wide"


async def test_fetch_reuses_its_connection_and_keeps_no_cookies(site: Site) -> None:
    site.page("/a", b"one", headers={"Set-Cookie": "session=secret"})
    async with open_toolbox(network=local()) as box:
        for _ in range(3):
            await call(box, "fetch", site.url("/a"))
    assert site.connections == 1
    assert all("cookie" not in request.headers for request in site.received)


async def test_fetch_reads_chunked_and_compressed_bodies(site: Site) -> None:
    plain = b"step " * 1000
    members = gzip.compress(plain) + gzip.compress(b"and more")
    site.raw("/chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n")
    site.page("/gzip", members, headers={"Content-Encoding": "gzip"})
    site.page("/deflate", zlib.compress(plain), headers={"Content-Encoding": "deflate"})
    async with open_toolbox(network=local()) as box:
        assert await call(box, "fetch", site.url("/chunked")) == "hello!"
        assert await call(box, "fetch", site.url("/gzip")) == (plain + b"and more").decode()
        assert await call(box, "fetch", site.url("/deflate")) == plain.decode()


@pytest.mark.parametrize(
    ("encoding", "body", "said"),
    [
        ("gzip", gzip.compress(b"x" * 5000, mtime=0)[:-20], "ends early"),
        ("gzip", b"no gzip at all", "damaged"),
        ("gzip, gzip", b"x", "not supported"),
        ("br", b"x", "not supported"),
    ],
)
async def test_a_damaged_body_is_an_error(site: Site, encoding: str, body: bytes, said: str) -> None:
    site.page("/a", body, headers={"Content-Encoding": encoding})
    async with open_toolbox(network=local()) as box:
        with pytest.raises(ToolFailure, match=said) as caught:
            await call(box, "fetch", site.url("/a"))
    assert caught.value.code == "bad_answer"


async def test_size_limits_name_the_limit_and_hold_for_what_a_body_inflates_to(site: Site) -> None:
    site.page("/long", b"x" * 3000)
    site.page("/bomb", gzip.compress(b"\0" * 200_000_000), headers={"Content-Encoding": "gzip"})

    async def endless(request: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
            await writer.drain()

    site.routes["/endless"] = endless
    async with open_toolbox(network=local()) as box:
        assert await call(box, "fetch", site.url("/long"), max_bytes=3000) == "x" * 3000
        with pytest.raises(ToolFailure, match="more than 2999 bytes") as caught:
            await call(box, "fetch", site.url("/long"), max_bytes=2999)
        assert caught.value.code == "too_large"
        for path in ("/bomb", "/endless"):
            with pytest.raises(ToolFailure, match="more than 1048576 bytes"):
                await call(box, "fetch", site.url(path))


async def test_a_binary_answer_is_an_error_unless_base64_is_asked_for(site: Site) -> None:
    site.page("/image", b"\x89PNG\x00", headers={"Content-Type": "image/png"})
    async with open_toolbox(network=local()) as box:
        with pytest.raises(ToolFailure, match="not text: image/png, 5 bytes") as caught:
            await call(box, "fetch", site.url("/image"))
        assert caught.value.code == "binary"
        assert base64.b64decode(await call(box, "fetch", site.url("/image"), as_text=False)) == b"\x89PNG\x00"


@pytest.mark.parametrize(
    ("status", "retryable"), [("404 Not Found", False), ("429 Too Many", True), ("500 Oops", True), ("503 No", True)]
)
async def test_an_error_status_is_a_failure_with_the_beginning_of_its_body(
    site: Site, status: str, retryable: bool
) -> None:
    site.page("/a", b"\x1b[31mbecause\x1b[0m " + b"y" * 100_000, status=status)
    async with open_toolbox(network=local()) as box:
        with pytest.raises(ToolFailure, match=status) as caught:
            await call(box, "fetch", site.url("/a?key=secret"))
    assert caught.value.code == "http_error"
    assert caught.value.retryable is retryable
    assert "because" in caught.value.message
    assert "\x1b" not in caught.value.message
    assert "secret" not in caught.value.message
    assert len(caught.value.message) < 700


async def test_redirects_are_followed_five_times(site: Site) -> None:
    for n in range(1, 8):
        site.redirect(f"/{n}", f"/{n - 1}")
    site.page("/0", b"end")
    async with open_toolbox(network=local()) as box:
        assert await call(box, "fetch", site.url("/5")) == "end"
        with pytest.raises(ToolFailure, match="more than 5 redirects"):
            await call(box, "fetch", site.url("/6"))


async def test_every_redirect_is_checked_against_the_allow_list(site: Site) -> None:
    site.redirect("/out", "http://elsewhere.example/")
    site.redirect("/file", "file:///etc/passwd")
    site.redirect("/user", site.url("/").replace("//", "//user:pw@"))
    async with open_toolbox(network=local()) as box:
        for path, code in (("/out", "not_allowed"), ("/file", "invalid_arguments"), ("/user", "invalid_arguments")):
            with pytest.raises(ToolFailure, match="redirects") as caught:
                await call(box, "fetch", site.url(path))
            assert caught.value.code == code


async def test_a_redirect_to_a_private_address_is_refused(site: Site) -> None:
    site.redirect("/metadata", "http://169.254.169.254/latest")
    site.redirect("/inside", "http://inside.test/")
    zone = Zone(
        {"public.test": [["127.0.0.1"]], "inside.test": [["10.0.0.1"]], "169.254.169.254": [["169.254.169.254"]]}
    )
    network = LoopbackIsPublic(("*",), resolve=zone.resolve)
    async with open_toolbox(network=network) as box:
        for path in ("/metadata", "/inside"):
            with pytest.raises(ToolFailure, match="private or reserved") as caught:
                await call(box, "fetch", site.url(path, host="public.test"))
            assert caught.value.code == "not_allowed"


async def test_a_host_is_resolved_once_and_connected_to_at_that_address(site: Site) -> None:
    site.page("/", b"the checked address")
    zone = Zone({"rebind.test": [["127.0.0.1"], ["192.168.0.1"]]})
    async with open_toolbox(network=LoopbackIsPublic(("rebind.test",), resolve=zone.resolve)) as box:
        assert await call(box, "fetch", site.url("/", host="rebind.test")) == "the checked address"
    assert zone.asked == ["rebind.test"]
    assert site.received[0].headers["host"] == f"rebind.test:{site.port}"


async def test_a_private_answer_of_the_resolver_is_refused_before_any_connection(site: Site) -> None:
    zone = Zone({"inside.test": [["127.0.0.1", "::1"]], "mixed.test": [["10.0.0.1", "127.0.0.1"]]})
    async with open_toolbox(network=NetworkPolicy(("*.test",), resolve=zone.resolve)) as box:
        with pytest.raises(ToolFailure, match=r"127\.0\.0\.1, which is private.*allow_private = true"):
            await call(box, "fetch", site.url("/", host="inside.test"))
    assert site.connections == 0
    site.page("/", b"only the public one")
    async with open_toolbox(network=LoopbackIsPublic(("*.test",), resolve=zone.resolve)) as box:
        assert await call(box, "fetch", site.url("/", host="mixed.test")) == "only the public one"


async def test_an_unlisted_host_is_refused_with_the_line_to_write() -> None:
    async with open_toolbox() as box:
        with pytest.raises(ToolFailure, match=r'\[http\] allow_hosts = \["api\.example\.org"\]') as caught:
            await call(box, "fetch", "https://API.example.org./x")
    assert caught.value.code == "not_allowed"


async def test_a_host_that_does_not_resolve_or_answer_is_retryable(site: Site) -> None:
    zone = Zone({"gone.test": [["127.0.0.1"]]})
    async with open_toolbox(network=local("*", resolve=zone.resolve)) as box:
        with pytest.raises(ToolFailure, match="could not be resolved") as unknown:
            await call(box, "fetch", "http://nowhere.test/")
        with pytest.raises(ToolFailure, match="could not be connected to") as refused:
            await call(box, "fetch", "http://gone.test:1/")
    assert unknown.value.retryable
    assert refused.value.retryable


async def test_request_returns_status_headers_text_and_json(site: Site) -> None:
    site.page("/api", b'{"n": [1, 2]}', status="418 Teapot", headers={"Content-Type": "application/json", "X-A": "b"})
    async with open_toolbox(network=local()) as box:
        answer = await call(box, "http.request", "GET", site.url("/api"))
    assert (answer["status"], answer["text"], answer["json"]) == (418, '{"n": [1, 2]}', {"n": [1, 2]})
    assert answer["headers"]["x-a"] == "b"


async def test_request_sends_json_text_and_headers_and_nothing_by_itself(site: Site) -> None:
    site.echo("/echo")
    rules = ToolRules(keys={"http.request": KeyPlace("header", "Idempotency-Key")})
    async with open_toolbox(network=local(), rules=rules) as box:
        keyed = await call(box, "http.request", "POST", site.url("/echo"), headers={"idempotency-key": "mine"})
    assert [line for line in keyed["text"].split("\n") if "idempotency" in line] == ["idempotency-key: key1"]
    async with open_toolbox(network=local()) as box:
        sent = await call(box, "http.request", "POST", site.url("/echo"), json={"a": "ü"})
        text = await call(
            box, "http.request", "PUT", site.url("/echo"), body="hi", headers={"Idempotency-Key": "k", "X-Empty": ""}
        )
    assert "content-type: application/json" in sent["text"]
    assert sent["text"].endswith('\n\n{"a": "ü"}')
    assert "idempotency-key" not in sent["text"]
    assert "idempotency-key: k" in text["text"]
    assert text["text"].startswith("PUT")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "elsewhere"},
        {"Transfer-Encoding": "chunked"},
        {"Keep-Alive": "5"},
        {"X": "a\r\nInjected: b"},
        {"X": "a\x00"},
        {"X y": "a"},
        {"@/etc/passwd": "a"},
        {"X": "a" * 9000},
        {"Proxy-Authorization": "x"},
    ],
)
@pytest.mark.parametrize("tool", ["http.request", "curl.get"])
async def test_headers_that_are_the_hosts_or_malformed_are_refused(
    site: Site, tool: str, headers: dict[str, str]
) -> None:
    arguments = {"url": site.url(), "headers": headers} | ({"method": "GET"} if tool == "http.request" else {})
    async with open_toolbox(network=local()) as box:
        with pytest.raises(ToolFailure, match="header") as caught:
            await call(box, tool, **arguments)
    assert caught.value.code == "invalid_arguments"
    assert not site.received


async def test_headers_of_the_caller_do_not_follow_a_redirect_to_another_origin(site: Site) -> None:
    site.echo("/echo")
    site.redirect("/same", "/echo")
    site.redirect("/other", site.url("/echo", host="127.0.0.1"))
    async with open_toolbox(network=local("localhost", "127.0.0.1")) as box:
        same = await call(box, "http.request", "GET", site.url("/same"), headers={"Authorization": "secret"})
        other = await call(box, "http.request", "GET", site.url("/other"), headers={"Authorization": "secret"})
    assert "secret" in same["text"]
    assert "secret" not in other["text"]


async def test_a_post_is_not_redirected(site: Site) -> None:
    site.redirect("/r", "/echo", status="307 Temporary Redirect")
    site.echo("/echo")
    async with open_toolbox(network=local()) as box:
        assert (await call(box, "http.request", "POST", site.url("/r"), body="x"))["status"] == 307
    assert [request.path for request in site.received] == ["/r"]


@pytest.mark.parametrize("how", ["held", "dropped"])
async def test_a_lost_answer_is_a_failure_for_get_and_unknown_for_post(site: Site, how: str) -> None:
    done = asyncio.Event()

    async def silent(request: Received, writer: asyncio.StreamWriter) -> None:
        if how == "held":
            await done.wait()
        writer.close()

    site.routes["/silent"] = silent
    async with open_toolbox(network=local()) as box:
        with pytest.raises(ToolFailure) as caught:
            await call(box, "http.request", "GET", site.url("/silent"), timeout=0.2 if how == "held" else 20)
        assert caught.value.code == ("timeout" if how == "held" else "connection_failed")
        assert caught.value.retryable
        with pytest.raises(OutcomeUnknown):
            await call(box, "http.request", "POST", site.url("/silent"), timeout=0.2 if how == "held" else 20)
    done.set()


async def test_an_answer_that_comes_a_byte_at_a_time_has_the_same_time_limit(site: Site) -> None:
    gone = asyncio.Event()

    async def dripping(request: Received, writer: asyncio.StreamWriter) -> None:
        try:
            for part in (
                b"HTTP/1.1 200 OK\r\n",
                *[b"X-Y: z\r\n"] * 20,
                b"Content-Length: 99999\r\n\r\n",
                *[b"x"] * 99999,
            ):
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.01)
        finally:
            gone.set()

    site.routes["/drip"] = dripping
    async with open_toolbox(network=local()) as box:
        with pytest.raises(ToolFailure, match="did not answer within") as caught:
            await call(box, "http.request", "GET", site.url("/drip"), timeout=0.5)
        assert caught.value.code == "timeout"
        async with asyncio.timeout(30):
            await gone.wait()  # nobody goes on reading


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0", "127\u30020\u30020\u30021", "[::]"]
)
async def test_an_address_of_this_machine_is_refused_however_it_is_written(site: Site, host: str) -> None:
    async with open_toolbox(network=NetworkPolicy(("*",))) as box:
        for tool in ("fetch", "curl.get"):
            with pytest.raises(ToolFailure, match="private or reserved") as caught:
                await call(box, tool, site.url("/", host))
            assert caught.value.code == "not_allowed"
    assert site.connections == 0


async def test_a_refused_connection_is_a_failure_for_post_too_since_nothing_was_sent() -> None:
    async with open_toolbox(network=local()) as box:
        with pytest.raises(ToolFailure, match="could not be connected to"):
            await call(box, "http.request", "POST", "http://localhost:1/")


async def test_the_client_waits_as_long_as_the_exchange_may_take() -> None:
    async with open_client(NetworkPolicy()) as client:
        assert client.timeout.read is None
        assert client.timeout.pool is None


async def test_tls_verifies_the_name_and_not_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = make_certificate(tmp_path, "tls.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("CURL_CA_BUNDLE", str(certificate))
    names: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    secure = Site()
    secure.page("/", b"secret")
    server = await asyncio.start_server(secure.serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    zone = Zone({"tls.test": [["127.0.0.1"]], "other.test": [["127.0.0.1"]]})
    async with server, open_toolbox(network=local("*.test", resolve=zone.resolve)) as box:
        for tool in ("fetch", "curl.get"):
            assert await call(box, tool, f"https://tls.test:{port}/") == "secret"
            with pytest.raises(ToolFailure, match=r"certificate") as caught:
                await call(box, tool, f"https://other.test:{port}/")
            assert caught.value.code == "connection_failed"
        await secure.close()
    assert names == ["tls.test", "other.test"] * 2


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-keyout", str(key), "-out", str(certificate), "-days", "1", "-subj", f"/CN={name}"]
    words += ["-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run(words, check=True, capture_output=True)
    return certificate, key
