"""One operation of an HTTP service."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from stepwell.model import Json, JsonObject
from stepwell.ports import Binary, CallContext, ToolSpec
from stepwell.tools.bodies import is_binary
from stepwell.tools.exchange import Answer, Request, WebClient, http_failure, translated
from stepwell.tools.headers import check_headers
from stepwell.tools.messages import failure, invalid
from stepwell.tools.network import Refused, Target, read_url
from stepwell.tools.openapi.contents import BadFile, write_content
from stepwell.tools.openapi.operations import BODY, Operation
from stepwell.tools.openapi.security import Proof
from stepwell.tools.openapi.styles import (
    Parameter,
    join_cookies,
    join_query,
    write_header,
    write_pairs,
    write_segment,
    write_text,
)
from stepwell.tools.repeating import exchange_repeating

MAX_ANSWER_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Service:
    """What the operations of one address have in common."""

    base: str
    named: tuple[str, ...]
    """Its host, where only the document says so."""
    web: WebClient
    identify: Callable[[], Awaitable[Proof]]
    hint: str
    """What the operator can do where nothing says who calls."""
    timeout_s: float


class OperationTool:
    """`tools.<api>.<operation>(...)`."""

    def __init__(self, spec: ToolSpec, operation: Operation, service: Service) -> None:
        self.spec = spec
        self._operation = operation
        self._service = service

    def check(self, arguments: JsonObject) -> None:
        """Refuse values that cannot stand in a URL or a header, and files that are none."""
        self._target(arguments, Proof())
        self._headers(arguments, Proof(), {})
        self._content(arguments)

    def hosts(self, arguments: JsonObject) -> tuple[str, ...]:
        """Return the service's host, unless the operator has named it."""
        return self._service.named

    async def call(self, spec: ToolSpec, arguments: JsonObject, context: CallContext) -> Json:
        """Make the request; an answer with status 400 or more is an error, JSON is decoded, bytes are kept."""
        service = self._service
        proof = await service.identify()
        target = self._target(arguments, proof)
        own = () if service.named else (target.host,)
        web = service.web.within(service.web.network.with_hosts((*context.hosts, *own)))
        content, media = self._content(arguments)
        more = dict(context.headers) | ({"Content-Type": media} if content is not None else {})
        headers = self._headers(arguments, proof, more)
        request = Request(self._operation.method, target, MAX_ANSWER_BYTES, headers, content, cut_errors=True)
        with translated(spec.name, request, service.timeout_s, safe=spec.repeatable):
            web.network.check_url(target.url)
            # Where the operator has said that it may not be repeated, its method does not count.
            answer = await exchange_repeating(web, request, service.timeout_s, repeatable=spec.repeatable)
        if answer.status >= 400:
            hint = service.hint if answer.status in (401, 403) else ""
            raise http_failure(spec.name, answer, hint=hint)
        return await self._value(spec, answer, context)

    def _target(self, arguments: JsonObject, proof: Proof) -> Target:
        path = self._operation.path
        pairs = [(pair, False) for pair in proof.query]
        for parameter in self._operation.parameters:
            value = arguments.get(parameter.argument)
            if parameter.place == "path":
                path = path.replace(f"{{{parameter.name}}}", self._segment(parameter, value))
            elif parameter.place == "query" and value is not None:
                pairs += [(pair, parameter.reserved) for pair in write_pairs(parameter, value)]
        url = f"{self._service.base}{path if path.startswith('/') else f'/{path}'}"
        try:
            return read_url(f"{url}{'&' if '?' in url else '?'}{join_query(pairs)}" if pairs else url)
        except Refused as error:
            raise error.as_failure(self.spec.name) from error

    def _segment(self, parameter: Parameter, value: Json) -> str:
        if isinstance(value, str) and value in ("", ".", ".."):
            raise invalid(self.spec.name, f"{self.spec.name}: {parameter.argument} cannot be {value!r}")
        written = write_segment(parameter, value)
        if written in ("", ".", ".."):
            raise invalid(self.spec.name, f"{self.spec.name}: {parameter.argument} cannot be {write_text(value)}")
        return written

    def _headers(self, arguments: JsonObject, proof: Proof, more: dict[str, str]) -> dict[str, str]:
        given: JsonObject = {}
        cookies = list(proof.cookies)
        for parameter in self._operation.parameters:
            value = arguments.get(parameter.argument)
            if value is not None and parameter.place == "header":
                given[parameter.name] = write_header(parameter, value)
            elif value is not None and parameter.place == "cookie":
                cookies += write_pairs(parameter, value)
        if cookies:
            given["Cookie"] = join_cookies(cookies)
        try:
            return check_headers(_merged(given, more, proof.headers))
        except Refused as error:
            raise error.as_failure(self.spec.name) from error

    def _content(self, arguments: JsonObject) -> tuple[bytes | None, str]:
        if BODY not in arguments or self._operation.content is None:
            return None, ""
        try:
            return write_content(self._operation.content, arguments[BODY])
        except BadFile as error:
            raise invalid(self.spec.name, f"{self.spec.name}: {error}") from error

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


def _merged(*sets: JsonObject | dict[str, str]) -> JsonObject:
    """Return headers of all sets; of those with one name the last counts, cookies go together."""
    made: dict[str, tuple[str, str]] = {}
    for name, value in (each for given in sets for each in given.items()):
        before = made.get(name.lower())
        together = before is not None and name.lower() == "cookie"
        made[name.lower()] = (name, f"{before[1]}; {value}" if together and before else value)
    return dict(made.values())
