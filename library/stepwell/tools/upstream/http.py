"""Streamable HTTP to an upstream server: bounded answers, and a failure of one request is that request's alone.

The SDK's transport ends the whole connection, with every call on it, when one POST fails to connect; here such a
failure becomes the JSON-RPC error of that call.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp.client.streamable_http import streamable_http_client

from stepwell.tools.upstream.wire import LOST, MAX_MESSAGE_BYTES, TOO_LARGE, UNSENT

CONNECT_S = 10.0
_GATEWAY = {502, 504}  # the server behind may have done what was asked


class _TooLong(Exception):
    pass


class GuardedTransport(httpx2.AsyncBaseTransport):
    """The network, with failures as answers."""

    def __init__(self) -> None:
        self._network = httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send; whole JSON bodies are read here, within their bound."""
        if request.method != "POST":
            return await self._network.handle_async_request(request)
        try:
            response = await self._network.handle_async_request(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            return _failed(UNSENT, f"cannot be connected to: {error or type(error).__name__}")
        except httpx2.TransportError as error:
            return _failed(LOST, f"broke the connection: {error or type(error).__name__}")
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            return _failed(LOST, "answered with a content encoding that was not asked for")
        if response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            return response
        answer = await _whole(response)
        return httpx2.Response(404) if "mcp-session-id" in request.headers and _is_of_no_session(answer) else answer

    async def aclose(self) -> None:
        """Close all connections."""
        await self._network.aclose()


@asynccontextmanager
async def open_http(url: str, headers: Mapping[str, str], timeout_s: float) -> AsyncGenerator[Any, None]:
    """Give what the SDK's client reads from and writes to."""
    timeout = httpx2.Timeout(None, connect=CONNECT_S, write=timeout_s, pool=CONNECT_S)
    async with (
        httpx2.AsyncClient(
            transport=GuardedTransport(),
            headers={"Accept-Encoding": "identity", **headers},
            timeout=timeout,
            trust_env=False,
            follow_redirects=False,
        ) as client,
        streamable_http_client(url, http_client=client, max_sse_event_size=MAX_MESSAGE_BYTES) as streams,
    ):
        yield streams


async def _whole(response: httpx2.Response) -> httpx2.Response:
    stream: Any = response.stream
    body = bytearray()
    try:
        async for chunk in _bounded(stream):
            body += chunk
    except _TooLong:
        return _failed(TOO_LARGE, f"its answer is longer than {MAX_MESSAGE_BYTES} bytes")
    except httpx2.TransportError as error:
        return _failed(LOST, f"broke the connection: {error or type(error).__name__}")
    finally:
        await response.aclose()
    if response.status_code in _GATEWAY and not body.lstrip().startswith(b'{"jsonrpc"'):
        return _failed(LOST, f"its gateway answered {response.status_code}")
    headers = [(name, value) for name, value in response.headers.raw if name.lower() != b"transfer-encoding"]
    return httpx2.Response(response.status_code, headers=headers, content=bytes(body))


def _is_of_no_session(answer: httpx2.Response) -> bool:
    # A server that was started again has no sessions. The protocol wants 404 then; its SDKs put a JSON-RPC error into
    # it, which would be taken for the tool's, and many servers that follow an example answer 400.
    return answer.status_code == 404 or (answer.status_code == 400 and b"session" in answer.content.lower())


async def _bounded(stream: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    left = MAX_MESSAGE_BYTES
    async for chunk in stream:
        left -= len(chunk)
        if left < 0:
            raise _TooLong
        yield chunk


def _failed(code: int, message: str) -> httpx2.Response:
    error = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}
    return httpx2.Response(502, headers={"content-type": "application/json"}, content=json.dumps(error).encode())
