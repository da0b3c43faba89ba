"""Serving over Streamable HTTP: any number of clients, at `/mcp`."""

import hmac
import logging
import os
import secrets
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from ipaddress import ip_address

import anyio
import uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from stepwell.errors import ConfigError
from stepwell_server.app import App
from stepwell_server.surface.logs import configure_logs
from stepwell_server.surface.server import StepwellServer, open_server

TOKEN = "STEPWELL_HTTP_TOKEN"  # noqa: S105  the variable's name
MIN_TOKEN = 16  # characters
GRACE_S = 2  # for open responses when the server stops
MAX_BODY = 4 * 1024 * 1024  # bytes of one request
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
ANY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104  compared with, not bound

log = logging.getLogger(__name__)


async def serve_http(app: App, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; port 0 takes a free one. The address is logged once requests are accepted.

    Raises:
        ConfigError: the address is not loopback and no token is set, or it cannot be bound.
    """
    configure_logs()
    token = read_token(host)
    bound = _bind(host, port)
    async with open_server(app) as server, anyio.create_task_group() as tasks:
        web = _Server(
            uvicorn.Config(make_asgi(server, host, token), log_config=None, timeout_graceful_shutdown=GRACE_S)
        )
        log.warning("listening on http://%s:%s/mcp", f"[{host}]" if ":" in host else host, bound.getsockname()[1])
        tasks.start_soon(_stop_on_signal, web)
        await web.serve([bound])
        tasks.cancel_scope.cancel()


def read_token(host: str) -> str | None:
    """Return the bearer token that clients must send, None for none.

    Raises:
        ConfigError: the address needs one and there is none, or it is too short.
    """
    token = os.environ.get(TOKEN, "").strip()
    if token and len(token) < MIN_TOKEN:
        raise ConfigError(f"{TOKEN} has fewer than {MIN_TOKEN} characters", hint=_token_hint(host))
    if not token and not is_loopback(host):
        raise ConfigError(
            f"{host or 'every address'} can be reached by others, and no token is set", hint=_token_hint(host)
        )
    return token or None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def make_asgi(server: StepwellServer, host: str, token: str | None) -> ASGIApp:
    """Return the application: `/mcp`, and `/health`, which needs no token."""
    security = _transport_security(host)
    starlette: Starlette = server.streamable_http_app(
        host=host, transport_security=security, max_request_body_size=MAX_BODY
    )
    starlette.add_route("/health", _health, methods=["GET"])
    return starlette if token is None else _Guard(starlette, token)


def _transport_security(host: str) -> TransportSecuritySettings:
    # A page that rebinds its name to this address has no token; without one only loopback names are answered.
    if host in ANY_ADDRESS:
        return TransportSecuritySettings(enable_dns_rebinding_protection=False)
    names = dict.fromkeys(["127.0.0.1", "localhost", "[::1]", f"[{host}]" if ":" in host else host])
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=[f"{name}:*" for name in names],
        allowed_origins=[f"http://{name}:*" for name in names],
    )


def _token_hint(host: str) -> str:
    return (
        f"Set one: export {TOKEN}={secrets.token_urlsafe(24)}  and give it to clients as the header "
        f'"Authorization: Bearer ...". Or serve this machine only: --http 127.0.0.1:8765.'
    )


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


class _Guard:
    """Answers 401 to whoever does not send the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/health" and not self._allows(scope):
            hint = f"Send the header Authorization: Bearer TOKEN with the server's {TOKEN}."
            denied = JSONResponse(
                {"error": {"type": "Forbidden", "code": "unauthorized", "message": "A token is needed.", "hint": hint}},
                status_code=401,
                headers={"WWW-Authenticate": "Bearer"},
            )
            await denied(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _allows(self, scope: Scope) -> bool:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        sent = [value for name, value in headers if name == b"authorization"]
        return len(sent) == 1 and hmac.compare_digest(sent[0], self._expected)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # uvicorn's own handlers raise the signal again at the end, before runs are handed over.
        yield


async def _stop_on_signal(web: uvicorn.Server) -> None:
    with anyio.open_signal_receiver(*STOP_SIGNALS) as signals:
        async for number in signals:
            # Also ends event streams: sse_starlette hooks into this method.
            web.handle_exit(number, None)
            return


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(
            f"{host}:{port} cannot be used: {error.strerror or error}",
            hint="Choose another port with --http HOST:PORT.",
        ) from error
