"""One operation of an HTTP service."""

import json
from collections.abc import Awaitable, Callable
from urllib.parse import quote, urlencode

from stepwell.model import Json, JsonObject
from stepwell.ports import Binary, CallContext, ToolSpec
from stepwell.tools.bodies import is_binary
from stepwell.tools.exchange import Answer, Request, WebClient, http_failure, translated
from stepwell.tools.headers import check_headers
from stepwell.tools.messages import failure, invalid
from stepwell.tools.network import Refused, Target, read_url
from stepwell.tools.openapi.operations import BODY, Operation, Parameter
from stepwell.tools.repeating import exchange_repeating

MAX_ANSWER_BYTES = 4 * 1024 * 1024


class OperationTool:
    """`tools.<api>.<operation>(...)`."""

    def __init__(
        self,
        spec: ToolSpec,
        operation: Operation,
        base: str,
        named: tuple[str, ...],
        web: WebClient,
        headers: Callable[[], Awaitable[dict[str, str]]],
        timeout_s: float,
    ) -> None:
        """Bind an operation to its service; `named` is its host where only the document says so."""
        self.spec = spec
        self._operation = operation
        self._base = base
        self._named = named
        self._web = web
        self._headers = headers
        self._timeout_s = timeout_s

    def check(self, arguments: JsonObject) -> None:
        """Refuse values that cannot stand in a URL or a header."""
        self._target(arguments)
        self._sent_headers(arguments, {})

    def hosts(self, arguments: JsonObject) -> tuple[str, ...]:
        """Return the service's host, unless the operator has named it."""
        return self._named

    async def call(self, spec: ToolSpec, arguments: JsonObject, context: CallContext) -> Json:
        """Make the request; an answer with status 400 or more is an error, JSON is decoded, bytes are kept."""
        target = self._target(arguments)
        own = () if self._named else (target.host,)
        web = self._web.within(self._web.network.with_hosts((*context.hosts, *own)))
        headers = self._sent_headers(arguments, {**await self._headers(), **context.headers})
        content = self._content(arguments, headers)
        request = Request(self._operation.method, target, MAX_ANSWER_BYTES, headers, content, cut_errors=True)
        with translated(spec.name, request, self._timeout_s, safe=spec.repeatable):
            web.network.check_url(target.url)
            # Where the operator has said that it may not be repeated, its method does not count.
            answer = await exchange_repeating(web, request, self._timeout_s, repeatable=spec.repeatable)
        if answer.status >= 400:
            raise http_failure(spec.name, answer)
        return await self._value(spec, answer, context)

    def _target(self, arguments: JsonObject) -> Target:
        path = self._operation.path
        query: list[tuple[str, str]] = []
        for parameter in self._operation.parameters:
            value = arguments.get(parameter.argument)
            if parameter.place == "path":
                path = path.replace(f"{{{parameter.name}}}", self._segment(parameter, value))
            elif parameter.place == "query" and value is not None:
                query += _pairs(parameter, value)
        url = f"{self._base}{path if path.startswith('/') else f'/{path}'}"
        try:
            return read_url(f"{url}{'&' if '?' in url else '?'}{urlencode(query)}" if query else url)
        except Refused as error:
            raise error.as_failure(self.spec.name) from error

    def _segment(self, parameter: Parameter, value: Json) -> str:
        text = ",".join(_text(item) for item in value) if isinstance(value, list) else _text(value)
        if text in ("", ".", ".."):
            raise invalid(self.spec.name, f"{self.spec.name}: {parameter.argument} cannot be {text!r}")
        return quote(text, safe=",")

    def _sent_headers(self, arguments: JsonObject, more: dict[str, str]) -> dict[str, str]:
        given: JsonObject = {
            parameter.name: _text(arguments[parameter.argument])
            for parameter in self._operation.parameters
            if parameter.place == "header" and arguments.get(parameter.argument) is not None
        }
        try:
            return check_headers({**given, **more})
        except Refused as error:
            raise error.as_failure(self.spec.name) from error

    def _content(self, arguments: JsonObject, headers: dict[str, str]) -> bytes | None:
        body = arguments.get(BODY)
        if BODY not in arguments or not self._operation.body:
            return None
        match self._operation.body:
            case "json":
                headers.setdefault("Content-Type", "application/json")
                return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
            case "form":
                headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
                pairs = [(name, _text(value)) for name, value in body.items()] if isinstance(body, dict) else []
                return urlencode(pairs).encode()
            case _:
                headers.setdefault("Content-Type", "text/plain; charset=utf-8")
                return str(body).encode()

    async def _value(self, spec: ToolSpec, answer: Answer, context: CallContext) -> Json:
        kind = answer.content_type.partition(";")[0].strip().lower()
        if not answer.body:
            return None
        if kind == "application/json" or kind.endswith("+json"):
            try:
                return json.loads(answer.text)
            except (ValueError, RecursionError) as error:
                message = f"{spec.name}: the answer is no valid JSON: {error}"
                raise failure(spec.name, message, code="bad_answer") from error
        if not is_binary(answer.body, answer.content_type):
            return answer.text
        if context.save is None:
            raise failure(spec.name, f"{spec.name}: the answer is not text: {kind}", code="binary")
        return await context.save(Binary(answer.body, kind or "application/octet-stream"))


def _pairs(parameter: Parameter, value: Json) -> list[tuple[str, str]]:
    if isinstance(value, list):
        texts = [_text(item) for item in value]
        return [(parameter.name, text) for text in texts] if parameter.explode else [(parameter.name, ",".join(texts))]
    if isinstance(value, dict):
        return [(key, _text(item)) for key, item in value.items()]
    return [(parameter.name, _text(value))]


def _text(value: Json) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value)
