"""Request headers from a workflow."""

import re
from collections.abc import Mapping

from stepwell.model import JsonObject
from stepwell.tools.network import Refused

MAX_HEADERS = 64
MAX_VALUE = 8 * 1024  # characters; common servers refuse more

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
_FORBIDDEN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# These say where the request goes and where it ends: a workflow that sets them could pass the allow-list by. Those of
# the connection are an error in HTTP/2.
_HOST_OWNED = {
    "host", "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "http2-settings", "te",
    "trailer", "expect",
}  # fmt: skip

HEADERS_SCHEMA: JsonObject = {
    "type": "object",
    "description": "Request headers, name to value.",
    "additionalProperties": {"type": "string"},
}


def check_headers(headers: JsonObject) -> dict[str, str]:
    """Return the headers if they can be sent as they are.

    Raises:
        Refused: a name or value is malformed, or the name is one that the host sets.
    """
    if len(headers) > MAX_HEADERS:
        raise Refused(f"more than {MAX_HEADERS} headers", code="invalid_arguments")
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise Refused(f"{name!r:.80} is no header name", code="invalid_arguments")
        if name.lower() in _HOST_OWNED or name.lower().startswith("proxy-"):
            raise Refused(f"the header {name} is set by the host", code="invalid_arguments", hint="Leave it out.")
        if not isinstance(value, str) or len(value) > MAX_VALUE or _FORBIDDEN_VALUE.search(value):
            raise Refused(
                f"the value of the header {name} must be one line of text of at most {MAX_VALUE} characters",
                code="invalid_arguments",
            )
        if not value.isascii():
            raise Refused(f"the value of the header {name} must be ASCII", code="invalid_arguments")
    return {name: value.strip() for name, value in headers.items()}


def with_own(headers: JsonObject, own: Mapping[str, str]) -> JsonObject:
    """Return headers with those of the host, which take the place of others of the same name."""
    names = {name.lower() for name in own}
    return {name: value for name, value in headers.items() if name.lower() not in names} | dict(own)
