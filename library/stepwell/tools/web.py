"""The tools `fetch` and `http.request`."""

import asyncio
import base64
import json

from stepwell.model import Json, JsonObject
from stepwell.ports import CallContext, ToolSpec
from stepwell.tools.bodies import is_binary
from stepwell.tools.exchange import SAFE_METHODS, Request, WebClient, http_failure, translated
from stepwell.tools.headers import HEADERS_SCHEMA, check_headers, with_own
from stepwell.tools.messages import failure, invalid
from stepwell.tools.network import NetworkPolicy, Refused, Target, read_url
from stepwell.tools.readable import readable_text
from stepwell.tools.repeating import exchange_repeating

MIB = 1024 * 1024
DEFAULT_BYTES = 1 * MIB
MAX_BYTES = 16 * MIB
TIMEOUT_S = 30.0
MAX_TIMEOUT_S = 300

URL_SCHEMA: JsonObject = {"type": "string", "description": "An http:// or https:// URL.", "maxLength": 16384}

FETCH = ToolSpec(
    name="fetch",
    description="Get a page or document over HTTP and return its text. Follows redirects.",
    schema={
        "type": "object",
        "properties": {
            "url": URL_SCHEMA,
            "max_bytes": {
                "type": "integer",
                "description": "The longest body to accept, in bytes.",
                "minimum": 1,
                "maximum": MAX_BYTES,
                "default": DEFAULT_BYTES,
            },
            "as_text": {
                "type": "boolean",
                "description": "False returns the body in base64, for what is not text.",
                "default": True,
            },
            "readable": {
                "type": "boolean",
                "description": "Of an HTML page only what a person would read, without markup.",
                "default": False,
            },
        },
        "required": ["url"],
        "additionalProperties": False,
    },
    returns="str",
    read_only=True,
)

REQUEST = ToolSpec(
    name="http.request",
    description="Make an HTTP request and return its status, headers and body. GET and HEAD follow redirects.",
    schema={
        "type": "object",
        "properties": {
            "method": {"enum": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]},
            "url": URL_SCHEMA,
            "headers": HEADERS_SCHEMA,
            "json": {"description": "Sent as the body, as application/json."},
            "body": {"type": "string", "description": "Sent as the body, in UTF-8."},
            "timeout": {
                "type": "number",
                "description": "Seconds for the whole exchange.",
                "exclusiveMinimum": 0,
                "maximum": MAX_TIMEOUT_S,
                "default": TIMEOUT_S,
            },
        },
        "required": ["method", "url"],
        "additionalProperties": False,
    },
    returns="{status: int, headers: dict, text: str, json: Any}",
    takes_key=("header",),
)


class FetchTool:
    """`tools.fetch(url)`."""

    spec = FETCH

    def __init__(self, web: WebClient) -> None:
        self._web = web

    def check(self, arguments: JsonObject) -> None:
        """Refuse what is no URL."""
        _read_target(self.spec.name, arguments["url"])

    def hosts(self, arguments: JsonObject) -> tuple[str, ...]:
        """Return the URL's host."""
        return (_read_target(self.spec.name, arguments["url"]).host,)

    async def call(self, spec: ToolSpec, arguments: JsonObject, context: CallContext) -> Json:
        """Return the body's text, or base64."""
        name = self.spec.name
        web = self._web.within(self._web.network.with_hosts(context.hosts))
        target = _checked_target(name, web.network, arguments["url"])
        max_bytes = int(arguments.get("max_bytes", DEFAULT_BYTES))
        request = Request("GET", target, max_bytes, cut_errors=True)
        with translated(name, request, TIMEOUT_S, safe=spec.repeatable):
            answer = await exchange_repeating(web, request, TIMEOUT_S, repeatable=True)
        if answer.status >= 400:
            raise http_failure(name, answer)
        if not arguments.get("as_text", True):
            return base64.b64encode(answer.body).decode("ascii")
        if is_binary(answer.body, answer.content_type):
            raise failure(
                name,
                f"{name}: {answer.target.shown} is not text: {answer.content_type or 'no type'}, "
                f"{len(answer.body)} bytes; pass as_text=False to get base64",
                code="binary",
            )
        if arguments.get("readable") and _is_html(answer.content_type):
            return await asyncio.to_thread(readable_text, answer.text)
        return answer.text


class RequestTool:
    """`tools.http.request(method, url)`."""

    spec = REQUEST

    def __init__(self, web: WebClient) -> None:
        self._web = web

    def check(self, arguments: JsonObject) -> None:
        """Refuse requests whose arguments already tell that they cannot be made."""
        self._request(arguments, _read_target(self.spec.name, arguments["url"]))

    def hosts(self, arguments: JsonObject) -> tuple[str, ...]:
        """Return the URL's host."""
        return (_read_target(self.spec.name, arguments["url"]).host,)

    async def call(self, spec: ToolSpec, arguments: JsonObject, context: CallContext) -> Json:
        """Return status, headers, text and, for JSON answers, the decoded value; no status is an error."""
        web = self._web.within(self._web.network.with_hosts(context.hosts))
        given = arguments | {"headers": with_own(arguments.get("headers", {}), context.headers)}
        request = self._request(given, _checked_target(self.spec.name, web.network, arguments["url"]))
        timeout_s = float(arguments.get("timeout", TIMEOUT_S))
        name = self.spec.name
        safe = spec.repeatable or request.method in SAFE_METHODS
        with translated(name, request, timeout_s, safe=safe):
            answer = await exchange_repeating(web, request, timeout_s, repeatable=True)
        if is_binary(answer.body, answer.content_type):
            raise failure(
                name,
                f"{name}: {answer.target.shown} answered {answer.status} with a body that is not text: "
                f"{answer.content_type or 'no type'}, {len(answer.body)} bytes",
                code="binary",
            )
        text = answer.text
        return {
            "status": answer.status,
            "headers": dict(answer.headers),
            "text": text,
            "json": _parse_json(text) if "json" in answer.content_type.lower() else None,
        }

    def _request(self, arguments: JsonObject, target: Target) -> Request:
        name = self.spec.name
        given = {key for key, value in arguments.items() if value is not None}
        if {"json", "body"} <= given:
            raise invalid(name, f"{name}: json and body are both given; pass one of them")
        try:
            headers = check_headers(arguments.get("headers", {}))
        except Refused as error:
            raise error.as_failure(name) from error
        content: bytes | None = None
        if "json" in given:
            content = json.dumps(arguments["json"], ensure_ascii=False, allow_nan=False).encode()
            if not any(key.lower() == "content-type" for key in headers):
                headers["Content-Type"] = "application/json"
        elif "body" in given:
            content = arguments["body"].encode()
        return Request(arguments["method"], target, DEFAULT_BYTES, headers, content)


def _checked_target(tool: str, network: NetworkPolicy, url: str) -> Target:
    try:
        return network.check_url(url)
    except Refused as error:
        raise error.as_failure(tool) from error


def _read_target(tool: str, url: str) -> Target:
    try:
        return read_url(url)
    except Refused as error:
        raise error.as_failure(tool) from error


def _is_html(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind in ("text/html", "application/xhtml+xml")


def _parse_json(text: str) -> Json:
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
