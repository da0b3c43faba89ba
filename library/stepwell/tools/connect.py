"""The HTTP client of the host's tools: connections go only to addresses that were checked."""

import asyncio
import ssl
from collections.abc import Iterable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, cast

import httpcore
import httpx

from stepwell.tools.http2 import EitherConnection
from stepwell.tools.network import NetworkPolicy

MAX_CONNECTIONS = 64  # of one host process; our choice
KEEPALIVE_S = 15.0
CONNECT_S = 10.0  # for each address
USER_AGENT = "stepwell"


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Resolves a host name once per connection and connects to one of the addresses that passed the check.

    The pool above keeps the name: TLS verifies it, and connections are shared by name, not by address.
    """

    def __init__(self, network: NetworkPolicy) -> None:
        self._network = network
        # httpcore declares a stand-in for installations without anyio, which checkers see first.
        self._backend = cast(httpcore.AsyncNetworkBackend, httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first checked address that answers.

        Raises:
            Refused: no address of the host may be connected to.
            httpcore.ConnectError: none of them answers.
        """
        failed: Exception | None = None
        for address in await self._network.find_addresses(host, port):
            try:
                return await self._backend.connect_tcp(
                    address, port, timeout=timeout, local_address=local_address, socket_options=socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed or httpcore.ConnectError(f"no address of {host}")


class CheckedTransport(httpx.AsyncBaseTransport):
    """One of httpx's transports for each scheme, made when it is used first.

    Loading the certificates of all authorities takes 30 ms, which a host that asks nobody should not spend.
    """

    def __init__(self, network: NetworkPolicy) -> None:
        self._network = network
        self._opened: dict[str, httpx.AsyncHTTPTransport] = {}
        self._opening = asyncio.Lock()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        scheme = request.url.scheme
        async with self._opening:
            if scheme not in self._opened:
                # Without TLS nothing uses the context; that one trusts nobody.
                secure = asyncio.to_thread(httpx.create_ssl_context) if scheme == "https" else None
                context = await secure if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                self._opened[scheme] = _PooledTransport(self._network, context)
        return await self._opened[scheme].handle_async_request(request)

    async def aclose(self) -> None:
        """Close all connections."""
        for transport in self._opened.values():
            await transport.aclose()


class _Pool(httpcore.AsyncConnectionPool):
    """Of connections that speak HTTP/2 where the server chooses it."""

    def create_connection(self, origin: httpcore.Origin) -> httpcore.AsyncConnectionInterface:
        """Return a connection that is not open yet."""
        return EitherConnection(
            origin,
            ssl_context=self._ssl_context,
            keepalive_expiry=self._keepalive_expiry,
            http1=True,
            http2=True,
            network_backend=self._network_backend,
        )


class _PooledTransport(httpx.AsyncHTTPTransport):
    """httpx's transport over a pool that connects through `CheckedBackend`."""

    def __init__(self, network: NetworkPolicy, context: ssl.SSLContext) -> None:
        super().__init__(verify=context)
        self._pool = _Pool(
            ssl_context=context,
            http2=True,
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=MAX_CONNECTIONS,
            keepalive_expiry=KEEPALIVE_S,
            network_backend=CheckedBackend(network),
        )


def open_client(network: NetworkPolicy) -> httpx.AsyncClient:
    """Return a client that keeps no cookies, reads no proxies or credentials from the environment."""
    return httpx.AsyncClient(
        transport=CheckedTransport(network),
        trust_env=False,
        # The caller bounds the whole exchange; httpx's 5 s without a byte would cut slow answers off.
        timeout=httpx.Timeout(None, connect=CONNECT_S),
        follow_redirects=False,
        # One workflow's cookies must never go out with another's request.
        cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "gzip", "Accept": "*/*"},
    )
