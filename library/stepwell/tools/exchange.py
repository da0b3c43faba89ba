"""One HTTP exchange within the network policy, and what can go wrong in it."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from stepwell.errors import HostNeeded, ToolFailure
from stepwell.tools.bodies import BodyBroken, BodyTooLarge, decode_text, is_binary, read_body
from stepwell.tools.messages import EXCERPT_CHARS, clean, failure
from stepwell.tools.network import NetworkPolicy, Refused, Target, read_url
from stepwell.tools.redaction import hide
from stepwell.tools.tool import OutcomeUnknown

MAX_REDIRECTS = 5
ERROR_BODY_BYTES = 8 * 1024  # read of an answer that is an error
SAFE_METHODS = frozenset({"GET", "HEAD"})

_REDIRECTS = {301, 302, 303, 307, 308}
# The request has not left: nothing can have happened on the other side.
# A `LocalProtocolError` is none of them: in HTTP/2 it can also be an answer that makes no sense.
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Request:
    """One request, before its redirects."""

    method: str
    target: Target
    max_bytes: int
    headers: dict[str, str] = field(default_factory=dict[str, str])
    content: bytes | None = None
    cut_errors: bool = False
    """Whether of an answer with status 400 or more only the beginning is read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The final answer to a request."""

    target: Target
    status: int
    reason: str
    headers: httpx.Headers
    charset: str | None
    body: bytes

    @property
    def content_type(self) -> str:
        """The declared type with its parameters, or nothing."""
        return str(self.headers.get("content-type", ""))

    @property
    def text(self) -> str:
        """The body, decoded by its declared charset."""
        return decode_text(self.body, self.charset)


class WebClient:
    """Makes requests within the network policy."""

    def __init__(self, client: httpx.AsyncClient, network: NetworkPolicy) -> None:
        self._client = client
        self.network = network

    def within(self, network: NetworkPolicy) -> "WebClient":
        """Return a client of the same connections with another list of hosts."""
        return WebClient(self._client, network)

    async def exchange(self, request: Request) -> Answer:
        """Send the request; for GET and HEAD follow redirects, each checked as the first URL was.

        Headers and body stay with the origin that they were meant for.

        Raises:
            Unlisted: a redirect leads to a host that is not on the list; nothing was sent there.
            Refused: a redirect leads to where tools may not go, or there are too many.
            BodyTooLarge, BodyBroken, httpx.TransportError: the answer could not be had.
        """
        target, headers, content = request.target, request.headers, request.content
        for _ in range(MAX_REDIRECTS + 1):
            async with self._client.stream(request.method, target.url, headers=headers, content=content) as response:
                location = _location(response) if request.method in SAFE_METHODS else None
                if location is None:
                    return await _answer(request, target, response)
                following = self._follow(target, location)
            if following.origin != target.origin:
                headers, content = {}, None
            target = following
        raise Refused(f"more than {MAX_REDIRECTS} redirects, the last to {target.shown}", code="http_error")

    def _follow(self, target: Target, location: str) -> Target:
        try:
            following = read_url(str(httpx.URL(target.url).join(location)))
        except httpx.InvalidURL as error:
            raise Refused(f"{target.shown} redirects to no valid URL: {error}", code="http_error") from error
        except Refused as error:
            raise _redirected(target, error) from error
        if following.host != target.host and hide(following.url) != following.url:
            # It is bound to a host, and nobody knows here whether to this one.
            said = f"to {following.host} with a secret in the address, which was not sent there"
            raise Refused(f"{target.shown} redirects {said}")
        if not self.network.lists(following.host):
            raise Unlisted(_redirected(target, self.network.not_listed(following.host)), following.host)
        return following


class Unlisted(Refused):
    """A redirect leads to a host that is not on the allow-list."""

    def __init__(self, refused: Refused, host: str) -> None:
        super().__init__(refused.message, code=refused.code, hint=refused.hint)
        self.host = host

    def as_failure(self, tool: str) -> ToolFailure:
        """Return the error that a person may lift."""
        shown = super().as_failure(tool)
        return HostNeeded(shown.message, tool=tool, host=self.host, hint=shown.hint)


@contextmanager
def translated(tool: str, request: Request, timeout_s: float, *, safe: bool) -> Generator[None, None, None]:
    """Turn what goes wrong in an exchange into the tool's error.

    Raises:
        OutcomeUnknown: the request is not `safe` to repeat, may have arrived, and no answer came.
    """
    where = f"{tool}: {request.target.shown}"
    try:
        yield
    except Refused as error:
        raise error.as_failure(tool) from error
    except BodyTooLarge as error:
        raise failure(
            tool,
            f"{where} answered with more than {request.max_bytes} bytes",
            code="too_large",
        ) from error
    except BodyBroken as error:
        raise failure(tool, f"{where} cannot be read: {error}", code="bad_answer") from error
    except UNSENT as error:
        message = f"{where} could not be connected to: {error or type(error).__name__}"
        raise failure(tool, message, code="connection_failed", retryable=True) from error
    except (TimeoutError, httpx.TimeoutException) as error:
        message = f"{where} did not answer within {timeout_s:g} s"
        if not safe:
            raise OutcomeUnknown(clean(message)) from error
        raise failure(tool, message, code="timeout", retryable=True) from error
    except httpx.HTTPError as error:
        message = f"{where} broke the connection: {error or type(error).__name__}"
        if not safe:
            raise OutcomeUnknown(clean(message)) from error
        raise failure(tool, message, code="connection_failed", retryable=True) from error


def http_failure(tool: str, answer: Answer, *, hint: str = "") -> ToolFailure:
    """Return the error of an answer with status 400 or more."""
    said = "" if is_binary(answer.body, answer.content_type) else clean(answer.text, EXCERPT_CHARS)
    return failure(
        tool,
        f"{tool}: {answer.target.shown} answered {answer.status} {answer.reason}" + (f": {said}" if said else ""),
        code="http_error",
        retryable=answer.status == 429 or answer.status >= 500,
        hint=hint,
    )


def _redirected(target: Target, error: Refused) -> Refused:
    return Refused(f"{target.shown} redirects: {error.message}", code=error.code, hint=error.hint)


def _location(response: httpx.Response) -> str | None:
    return response.headers.get("location") if response.status_code in _REDIRECTS else None


async def _answer(request: Request, target: Target, response: httpx.Response) -> Answer:
    if request.cut_errors and response.status_code >= 400:
        try:
            body = await read_body(response, ERROR_BODY_BYTES, cut=True)
        except BodyBroken:
            body = b""
    else:
        body = await read_body(response, request.max_bytes)
    return Answer(
        target, response.status_code, response.reason_phrase, response.headers, response.charset_encoding, body
    )
