"""An HTTP server outside of Stepwell: it records the effects that workflows have, and holds gates shut."""

import json
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WAIT_S = 60


class Outside:
    """Counts `POST /effect/NAME` (under `/hold/` the answer waits for `release`); `GET /gate/NAME` is answered once `open_gate(NAME)` was called."""

    def __init__(self) -> None:
        self.effects: Counter[str] = Counter()
        self.reads: Counter[str] = Counter()
        self.bodies: list[str] = []
        self._changed = threading.Condition()
        self._opened: set[str] = set()
        self._lost: set[str] = set()
        self._released = False
        outside = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(outside.read(self.path))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                answer = outside.effect(self.path, body)
                if answer is None:  # the answer is lost on its way
                    self.close_connection = True
                    return
                self._answer(answer)

            def _answer(self, answer: object) -> None:
                data = json.dumps(answer).encode()
                try:
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    self.close_connection = True  # the client was killed meanwhile

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def effect(self, path: str, body: str) -> object:
        name = path.rsplit("/", 1)[1]
        with self._changed:
            self.effects[name] += 1
            self.bodies.append(body)
            self._changed.notify_all()
            if "/hold/" in path:
                self._changed.wait_for(lambda: self._released, WAIT_S)
            return None if name in self._lost else {"effect": name, "count": self.effects[name]}

    def read(self, path: str) -> object:
        name = path.rsplit("/", 1)[1]
        with self._changed:
            self.reads[name] += 1
            self._changed.notify_all()
            if "/gate/" in path:
                self._changed.wait_for(lambda: name in self._opened, WAIT_S)
            return {"read": name, "count": self.reads[name]}

    def open_gate(self, *names: str) -> None:
        with self._changed:
            self._opened |= set(names)
            self._changed.notify_all()

    def lose_answers(self, *names: str) -> None:
        """From now on the effects of that name happen and their answers are lost."""
        self._lost = set(names)

    def release(self) -> None:
        """Answer the effects under `/hold/`."""
        with self._changed:
            self._released = True
            self._changed.notify_all()

    def wait_for_read(self, name: str, times: int = 1) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.reads[name] >= times, WAIT_S), f"no read of {name}"

    def wait_for_effect(self, name: str, times: int = 1) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.effects[name] >= times, WAIT_S), f"no effect {name}"

    @contextmanager
    def serving(self) -> Generator["Outside", None, None]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.open_gate(*self.reads)
            self.release()
            self._server.shutdown()
            self._server.server_close()
            thread.join()
