"""HTTP/2, where a server offers it."""

import asyncio
import ssl
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import pytest

from stepwell.errors import ToolFailure
from stepwell.tools import OutcomeUnknown, open_toolbox
from tools.loopback import Zone, call, local
from tools.test_fetch import make_certificate


class Http2Site:
    """Answers `/big` with 20 MiB, `/held` never, `/garbage` with what nobody may send, everything else with the request's path."""

    def __init__(self) -> None:
        self.connections = 0
        self.reset = 0
        self.holding = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        secured = writer.get_extra_info("ssl_object")
        assert secured.selected_alpn_protocol() == "h2"
        state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        state.initiate_connection()
        left: dict[int, memoryview] = {}
        try:
            writer.write(state.data_to_send())
            while data := await reader.read(65536):
                for event in state.receive_data(data):
                    if isinstance(event, h2.events.RequestReceived):
                        self.answer(state, event, left, writer)
                    elif isinstance(event, h2.events.StreamReset):
                        self.reset += 1
                        left.pop(event.stream_id or 0, None)
                self.go_on(state, left)
                writer.write(state.data_to_send())
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def answer(
        self,
        state: h2.connection.H2Connection,
        event: h2.events.RequestReceived,
        left: dict[int, memoryview],
        writer: asyncio.StreamWriter,
    ) -> None:
        stream = event.stream_id or 0
        path = {bytes(name): bytes(value) for name, value in event.headers or []}[b":path"]
        if path == b"/garbage":
            writer.write(bytes(9))  # a frame of data of no stream
            return
        if path == b"/held":
            self.holding.set()
            return
        state.send_headers(stream, [(":status", "200"), ("content-type", "text/plain")])
        left[stream] = memoryview(bytes(20 * 1024 * 1024)) if path == b"/big" else memoryview(path)

    def go_on(self, state: h2.connection.H2Connection, left: dict[int, memoryview]) -> None:
        for stream in list(left):
            while stream in left and (room := min(state.local_flow_control_window(stream), 16384)) > 0:
                data = left.pop(stream)
                if len(data) > room:
                    left[stream] = data[room:]
                state.send_data(stream, bytes(data[:room]), end_stream=len(data) <= room)


@pytest.mark.asyncio
async def test_http2_is_spoken_where_the_server_chooses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = make_certificate(tmp_path, "tls.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    site = Http2Site()
    server = await asyncio.start_server(site.serve, "127.0.0.1", 0, ssl=context)
    url = f"https://tls.test:{server.sockets[0].getsockname()[1]}"
    zone = Zone({"tls.test": [["127.0.0.1"]]})
    async with server, open_toolbox(network=local("tls.test", resolve=zone.resolve)) as box:
        assert await call(box, "fetch", f"{url}/first") == "/first"
        # An answer that is given up holds up no other one of the connection, although it fills all that may be unread.
        held = asyncio.create_task(call(box, "fetch", f"{url}/held"))
        await site.holding.wait()
        before = site.connections
        with pytest.raises(ToolFailure) as caught:
            await call(box, "fetch", f"{url}/big", max_bytes=1)
        assert caught.value.code == "too_large"
        assert await call(box, "fetch", f"{url}/small") == "/small"
        assert (site.connections, site.reset) == (before, 1)
        found = await asyncio.gather(*(call(box, "fetch", f"{url}/{n}") for n in range(20)))
        assert found == [f"/{n}" for n in range(20)]
        # What the other side breaks after a request was sent is in doubt.
        with pytest.raises(OutcomeUnknown):
            await call(box, "http.request", "POST", f"{url}/garbage", body="x")
        held.cancel()
        await asyncio.wait([held])
