"""Requests that are made again by themselves: of methods that may be repeated, when no answer or no real one came."""

import asyncio
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from stepwell.tools.exchange import UNSENT, Answer, Request, Unlisted, WebClient
from stepwell.tools.network import Refused

REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
DELAYS_S = (0.2, 1.0)
"""Before the second and the third attempt; there is no fourth."""
MAX_WAIT_S = 10.0
"""The longest `Retry-After` that is waited for."""

_BUSY = {502, 503, 504}
_BROKEN = (httpx.NetworkError, httpx.RemoteProtocolError)


async def exchange_repeating(web: WebClient, request: Request, timeout_s: float, *, repeatable: bool) -> Answer:
    """Send the request as `WebClient.exchange` does, up to three times within the time if it may be repeated.

    Raises:
        TimeoutError: no answer within the time.
        Refused, BodyTooLarge, BodyBroken, httpx.TransportError: as `WebClient.exchange`. A broken connection, after
            which the other side may have done what was asked, is not covered up by a later one that was refused.
    """
    clock = asyncio.get_running_loop().time
    end = clock() + timeout_s
    lost: Exception | None = None
    delays = DELAYS_S if repeatable and request.method in REPEATABLE else ()
    async with asyncio.timeout(timeout_s):
        for delay in delays:
            try:
                answer = await web.exchange(request)
            except Unlisted:
                raise
            except (Refused, *UNSENT, *_BROKEN) as error:
                lost = _newest(lost, error)
                if isinstance(error, Refused) or _is_untrusted(error) or clock() + delay >= end:
                    raise lost or error from error
                await asyncio.sleep(delay)
            else:
                wait = _wait(answer, delay)
                if wait is None or clock() + wait >= end:
                    return answer
                await asyncio.sleep(wait)
        try:
            return await web.exchange(request)
        except Unlisted:
            raise
        except (Refused, *UNSENT, *_BROKEN) as error:
            raise _newest(lost, error) or error from error


def _newest(lost: Exception | None, error: Exception) -> Exception | None:
    """Return the error of the newest attempt that may have arrived."""
    return lost if isinstance(error, (Refused, *UNSENT)) else error


def _wait(answer: Answer, delay: float) -> float | None:
    """Return the seconds until another attempt; None if this answer is the one."""
    asked = answer.headers.get("retry-after")
    if answer.status not in _BUSY and (answer.status != 429 or asked is None):
        return None
    if asked is None:
        return delay
    wait = _seconds(asked)
    return None if wait is None or wait > MAX_WAIT_S else max(wait, delay)


def _seconds(text: str) -> float | None:
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _is_untrusted(error: BaseException | None) -> bool:
    # A certificate does not become another one by asking again.
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
