"""Failures of a provider's SDK as ours. Both SDKs are made by one generator, so their errors have one form."""

import re
from typing import Any

from stepwell.errors import ModelFailure

CODES = {
    400: "invalid_request", 401: "invalid_key", 402: "billing", 403: "not_permitted", 404: "unknown_model",
    408: "timeout", 409: "conflict", 413: "request_too_large", 422: "invalid_request", 429: "rate_limited",
    504: "timeout", 529: "overloaded",
}  # fmt: skip
AGAIN = frozenset({408, 409, 429})
MAX_SAID = 1000  # characters of a provider's message
BY_TYPE = {
    "overloaded_error": 529, "rate_limit_error": 429, "api_error": 500, "timeout_error": 504,
    "invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403,
    "not_found_error": 404, "request_too_large": 413,
}  # fmt: skip
"""Of an error inside a stream, whose response was a 200."""


def status_failure(model: str, error: Any, *, streaming: bool) -> ModelFailure:
    """Return the failure of an `APIStatusError`; with `streaming` it came in the midst of an answer."""
    kind = str(getattr(error, "type", None) or "")
    status = int(error.status_code)
    if status < 400:
        status = BY_TYPE.get(kind, 500)
    code = CODES.get(status, "model_error" if status < 500 else "server_error")
    retry_s = read_delay(error.response.headers)
    said = str(getattr(error, "api_message", None) or _said(error))[:MAX_SAID]
    return ModelFailure(
        f"{model}: {said} ({status})", code=code, retryable=status in AGAIN or status >= 500, retry_s=retry_s,
        # A refused request is not billed; one that broke off in its answer may be.
        sent=streaming,
    )  # fmt: skip


def lost(model: str, error: BaseException) -> ModelFailure:
    """Return the failure of a turn whose answer did not come whole: it may have been made."""
    text = f"{model}: the answer broke off: {type(error).__name__}: {error}"
    return ModelFailure(text[:MAX_SAID], code="connection_lost", retryable=True, sent=True)


def unreached(model: str, error: BaseException) -> ModelFailure:
    """Return the failure of a request that found nobody."""
    cause = error.__cause__ or error
    return ModelFailure(
        f"{model} cannot be reached: {type(cause).__name__}: {cause}"[:MAX_SAID], code="unreachable", retryable=True
    )


def is_unsent(error: BaseException) -> bool:
    """Whether a connection's error came before anything was sent."""
    names = {type(found).__name__ for found in (error, error.__cause__, error.__context__) if found is not None}
    return bool(names & {"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "ProxyError"})


def read_delay(headers: Any) -> float | None:
    """Return the seconds that a server asks to wait."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = str(headers.get(name) or "")
        if re.fullmatch(r"\d+(\.\d+)?", value):
            return float(value) * unit
    return None


def _said(error: Any) -> str:
    body: Any = getattr(error, "body", None)
    if isinstance(body, dict):
        inner: Any = body.get("error", body)
        if isinstance(inner, dict) and isinstance(inner.get("message"), str):
            return inner["message"]
    return str(getattr(error, "message", "") or error)
