"""A web server on 127.0.0.1 for examples to call."""

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Posted:
    """One POST that came."""

    path: str
    key: str
    body: Any


@dataclass
class LocalSite:
    """Pages by path, POSTs as they came, and answers that fail first."""

    url: str = ""
    pages: dict[str, str] = field(default_factory=dict[str, str])
    failures: dict[str, int] = field(default_factory=dict[str, int])
    """How many requests of a path are answered with 503 before its page."""
    requests: list[str] = field(default_factory=list[str])
    posts: list[Posted] = field(default_factory=list[Posted])
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, path: str) -> tuple[int, str]:
        """Return status and text."""
        with self.lock:
            self.requests.append(path)
            if self.failures.get(path, 0) > 0:
                self.failures[path] -= 1
                return 503, "not now"
        return (200, self.pages[path]) if path in self.pages else (404, "no page")

    def post(self, posted: Posted) -> tuple[int, str]:
        """Return status and JSON text."""
        with self.lock:
            self.posts.append(posted)
            return 201, json.dumps({"id": f"p{len(self.posts)}"})


@contextmanager
def serve_site() -> Generator[LocalSite, None, None]:
    """Serve a site while the context is open."""
    site = LocalSite()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.reply(*site.get(self.path))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.reply(*site.post(Posted(self.path, self.headers.get("Idempotency-Key", ""), body)))

        def reply(self, status: int, text: str) -> None:
            data = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if text.startswith("{") else "text/plain")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
