"""An HTTP server that tells in many forms what it was sent, and holds some answers back."""

import base64
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, quote_plus, urlsplit

WAIT_S = 60


class Echo:
    """`/error` answers with 500; `/held` waits for `release`, after which it answers like any other path; `/chunks` is in pieces."""

    def __init__(self) -> None:
        self.sent: list[dict[str, str]] = []
        self.holding = threading.Event()
        self._released = threading.Event()
        echo = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                target = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(target.query).items()}
                sent = {"header": self.headers.get("Authorization", ""), "body": body, "path": target.path} | query
                echo.sent.append(sent)
                if target.path == "/held":
                    echo.holding.set()
                    echo._released.wait(WAIT_S)
                said = {key: list_forms(value) for key, value in sent.items()}
                data = json.dumps({"sent": said, "text": json.dumps(said)}).encode()
                self.send_response(500 if target.path == "/error" else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("X-Echo", quote(sent["header"], safe=" "))
                if target.path == "/chunks":
                    self.send_header("Transfer-Encoding", "chunked")
                    data = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in [*pieces(data), b""])
                else:
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = _answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def release(self) -> None:
        self._released.set()

    @contextmanager
    def serving(self) -> Generator["Echo", None, None]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.release()
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def pieces(data: bytes, size: int = 7) -> list[bytes]:
    """Short enough that each secret is cut."""
    return [data[at : at + size] for at in range(0, len(data), size)]


def list_forms(value: str) -> list[str]:
    data = value.encode()
    encoded = [base64.b64encode(prefix + data).decode() for prefix in (b"", b"u", b"us", b"user:")]
    return [
        value,
        quote(value),
        quote(value, safe=""),
        quote_plus(value),
        base64.urlsafe_b64encode(data).decode(),
        *encoded,
    ]
