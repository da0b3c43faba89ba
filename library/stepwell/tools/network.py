"""Which hosts and addresses tools may reach, decided on the host before anything is sent."""

import asyncio
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from stepwell.errors import ToolFailure
from stepwell.tools.messages import failure
from stepwell.tools.redaction import hide

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the addresses of a host and port, best first; raises OSError where there are none."""

DEFAULT_PORTS = {"http": 80, "https": 443}
SHOWN_HOSTS = 8
RESOLVE_S = 15.0
MAX_ADDRESSES = 4  # tried per connection; our choice

_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")
_PATTERN = re.compile(r"\*|(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|[0-9a-f:.]*:[0-9a-f:.]*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

# Ranges that lead to an IPv4 address inside them, or that `is_global` of some Python versions lets through.
_REFUSED = tuple(
    ipaddress.ip_network(range_)
    for range_ in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "240.0.0.0/4",
        "::/96",  # IPv4-compatible
        "::ffff:0:0/96",  # IPv4-mapped
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",  # Teredo and other protocol assignments
        "2002::/16",  # 6to4
        "fc00::/7",
        "fec0::/10",
    )
)


class Refused(Exception):
    """A URL, host or address that tools may not use. `code` is that of the tool's error."""

    def __init__(self, message: str, *, code: str = "not_allowed", hint: str = "", retryable: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint
        self.retryable = retryable

    def as_failure(self, tool: str) -> ToolFailure:
        """Return the error that the workflow sees."""
        return failure(tool, f"{tool}: {self.message}", code=self.code, retryable=self.retryable, hint=self.hint)


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that was read; from `check_url`, one whose host is on the allow-list."""

    scheme: str
    host: str
    """Lower case ASCII, without a trailing dot; IPv6 without brackets."""
    port: int
    url: str
    """Rebuilt from its parts, so that every program reads the same host out of it."""

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: what must be equal for credentials to go along."""
        return (self.scheme, self.host, self.port)

    @property
    def shown(self) -> str:
        """The URL without its query, which may hold credentials, for messages."""
        return hide(self.url.split("?", 1)[0])[:200]


async def system_resolve(host: str, port: int) -> list[str]:
    """Resolve with the operating system's resolver."""
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in infos))


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """The hosts and addresses that tools may reach."""

    allow_hosts: tuple[str, ...] = ()
    """`api.github.com`, `*.example.org` (its subdomains), `*` (every host)."""
    allow_private: bool = False
    """Whether private, loopback and link-local addresses may be reached."""
    resolve: Resolver = system_resolve

    def check_url(self, url: str) -> Target:
        """Return the parts of a URL that may be used, as far as its text tells.

        Raises:
            Refused: it is no http or https URL, carries credentials, or its host is not listed.
        """
        target = read_url(url)
        if not self.lists(target.host):
            raise self.not_listed(target.host)
        return target

    def lists(self, host: str) -> bool:
        """Return whether the host is on the allow-list."""
        return any(host_matches(host, pattern) for pattern in self.allow_hosts)

    def not_listed(self, host: str) -> Refused:
        """Return the refusal of a host that is not on the allow-list."""
        listed = self.allow_hosts if len(self.allow_hosts) <= SHOWN_HOSTS else ()
        wanted = ", ".join(f'"{name}"' for name in (*listed, host))
        return Refused(
            f"the host {host} is not on the allow-list; "
            f"the operator can add it in stepwell.toml: [http] allow_hosts = [{wanted}]"
        )

    def with_hosts(self, hosts: tuple[str, ...]) -> "NetworkPolicy":
        """Return the policy with more hosts on the allow-list."""
        return replace(self, allow_hosts=(*self.allow_hosts, *hosts)) if hosts else self

    async def find_addresses(self, host: str, port: int) -> list[str]:
        """Resolve the host once and return the addresses that may be connected to.

        Raises:
            Refused: it has no address, or only ones in refused ranges.
        """
        try:
            async with asyncio.timeout(RESOLVE_S):
                found = await self.resolve(host, port)
        except (OSError, UnicodeError) as error:
            reason = str(error) or f"no answer within {RESOLVE_S:g} s"
            raise Refused(
                f"the host {host} could not be resolved: {reason}", code="connection_failed", retryable=True
            ) from error
        allowed = [address for address in found if self.allows_address(address)]
        if allowed:
            return allowed[:MAX_ADDRESSES]
        if not found:
            raise Refused(f"the host {host} has no address", code="connection_failed", retryable=True)
        raise Refused(
            f"the host {host} has the address {found[0]}, which is private or reserved; "
            "the operator can allow such addresses in stepwell.toml: [http] allow_private = true"
        )

    def allows_address(self, address: str) -> bool:
        """Return whether a connection to that address may be made."""
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        if _is_multicast(parsed):
            return False
        return self.allow_private or is_public(parsed)


def is_public(address: IPAddress) -> bool:
    """Return whether the address is one of the public internet and no wrapping of another."""
    if not address.is_global or address.is_multicast or address.is_reserved or address.is_link_local:
        return False
    return not any(address.version == range_.version and address in range_ for range_ in _REFUSED)


def _is_multicast(address: IPAddress) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped.is_multicast
    return address.is_multicast


def host_matches(host: str, pattern: str) -> bool:
    """Return whether a pattern of the allow-list covers the host. `*.a.org` covers `x.a.org`, not `a.org`."""
    pattern = pattern.lower().rstrip(".")
    if pattern == "*":
        return True
    if pattern.startswith("*."):
        return host.endswith(pattern[1:]) and len(host) > len(pattern) - 1
    return host == pattern


def is_host_pattern(pattern: str) -> bool:
    """Return whether the text can be an entry of the allow-list."""
    return _PATTERN.fullmatch(pattern.lower().rstrip(".")) is not None


def read_url(url: str) -> Target:
    """Return the parts of a URL, whatever its host.

    Raises:
        Refused: it is no http or https URL, or carries credentials.
    """
    import httpx  # noqa: PLC0415  a tenth of a second, which a host without a request should not spend

    try:
        parsed = httpx.URL(url)
        host = parsed.raw_host.decode("ascii").lower().rstrip(".")
        path = parsed.raw_path.decode("ascii")
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise Refused(f"the URL cannot be read: {error}", code="invalid_arguments") from error
    if parsed.scheme not in DEFAULT_PORTS:
        raise Refused(
            f"the URL must begin with https:// or http://, not {parsed.scheme or 'nothing'!r}",
            code="invalid_arguments",
        )
    if parsed.userinfo:
        raise Refused("the URL carries a user name or password", code="invalid_arguments", hint="Send a header.")
    shown = f"[{host}]" if ":" in host else host
    _check_host(host)
    port = parsed.port if parsed.port is not None else DEFAULT_PORTS[parsed.scheme]
    if not 0 < port < 65536:
        raise Refused(f"{port} is no port", code="invalid_arguments")
    suffix = "" if port == DEFAULT_PORTS[parsed.scheme] else f":{port}"
    return Target(parsed.scheme, host, port, f"{parsed.scheme}://{shown}{suffix}{path}")


def _check_host(host: str) -> None:
    # `127.1`, `0x7f.1` and `2130706433` mean an address to some programs and a name to others.
    numeric = _NUMBER.fullmatch(host.rsplit(".", 1)[-1]) is not None
    try:
        if ":" in host or numeric:
            ipaddress.ip_address(host.replace("%", "no scope "))
            return
    except ValueError as error:
        raise Refused(f"{host} is no valid address", code="invalid_arguments") from error
    if len(host) > 253 or not _HOST.fullmatch(host):
        raise Refused("the URL has no valid host", code="invalid_arguments")
