"""An HTTP service with an OpenAPI document as a source of tools."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import yaml

from stepwell.errors import ToolFailure
from stepwell.ports import ToolSpec
from stepwell.tools.exchange import Request, WebClient, http_failure, translated
from stepwell.tools.loaded import LoadedSource, NotLoaded
from stepwell.tools.messages import clean, failure
from stepwell.tools.mistakes import suggest
from stepwell.tools.network import Refused, read_url
from stepwell.tools.openapi.config import OpenApi
from stepwell.tools.openapi.operations import BadDocument, LeftOut, Operation, Operations, read_operations
from stepwell.tools.openapi.security import Scheme, choose, prove
from stepwell.tools.openapi.tool import OperationTool, Service
from stepwell.tools.openapi.yaml_text import compose_yaml, read_yaml
from stepwell.tools.tool import Tool
from stepwell.tools.upstream.config import MissingVariable, Reveal, expand

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
MAX_LINES_BYTES = 1024 * 1024  # of a document in which lines are looked for
MAX_NAMED = 5  # operations that are left out, in one text
LOAD_S = 30.0
READ_ONLY = {"GET", "HEAD", "OPTIONS"}


class OpenApiSource(LoadedSource):
    """The operations of one service; a document that could not be read is tried again for a call."""

    _again = True

    def __init__(self, api: OpenApi, namespace: str, web: WebClient, reveal: Reveal) -> None:
        super().__init__(namespace, "openapi", api.name)
        self._api = api
        self._web = web
        self._reveal = reveal

    async def _load(self) -> tuple[Sequence[Tool], str]:
        api = self._api
        try:
            data = await self._fetch()
            operations = await asyncio.to_thread(_read, data, identified=bool(api.headers))
            schemes = self._schemes(operations)
            tools = [
                self._tool(operation, self._base(operation.base or operations.base), schemes)
                for operation in operations.found
            ]
            if not tools:
                self._base(operations.base)
        except (BadDocument, OSError, ToolFailure, Refused, TimeoutError) as error:
            raise NotLoaded(f"{api.document}: {error or type(error).__name__}") from error
        if not operations.left_out:
            return tools, ""
        said = await asyncio.to_thread(_name_left_out, data, operations.left_out)
        return tools, f"{api.document}: {said}"

    def _schemes(self, operations: Operations) -> dict[str, Scheme]:
        known = {name: scheme for name, scheme in operations.schemes.items() if isinstance(scheme, Scheme)}
        for name in self._api.auth:
            if name not in known:
                raise BadDocument(
                    f"{self.section}.auth: it has no security scheme {name!r}" + suggest(name, list(known))
                )
        return {name: known[name] for name in self._api.auth}

    def _tool(self, operation: Operation, base: str, schemes: Mapping[str, Scheme]) -> OperationTool:
        spec = ToolSpec(
            name=f"{self.name}.{operation.name}",
            description=operation.description,
            schema=operation.schema,
            returns=operation.returns,
            read_only=operation.method in READ_ONLY,
            idempotent=operation.method in ("PUT", "DELETE"),
            destructive=operation.method == "DELETE",
            takes_key=("header",),
            origin=clean(f"{operation.method} {operation.path} of {self._api.name}", 200),
        )
        chosen = choose(operation.needs, list(schemes)) or ()
        used = {name: schemes[name] for name in chosen}
        hint = ""
        if operation.needs and () not in operation.needs and not chosen:
            wanted = " or ".join(" and ".join(names) for names in operation.needs)
            hint = (
                f"It wants to know who calls: the operator can set {wanted} in [{self.section}.auth] of stepwell.toml."
            )

        host = read_url(base).host

        async def identify() -> Any:
            values = await self._texts({name: self._api.auth[name] for name in used}, host)
            proof = prove(used, values)
            proof.headers.update(await self._texts(self._api.headers, host))
            return proof

        own_host = () if self._api.base_url else (host,)
        service = Service(base, own_host, self._web, identify, hint, self._api.timeout_s)
        return OperationTool(spec, operation, service)

    async def _texts(self, texts: Mapping[str, str], host: str) -> dict[str, str]:
        try:
            given = {name: expand(value) for name, value in texts.items()}
        except MissingVariable as error:
            raise failure(self.name, f"{self.name}: {error}", code="not_started", retryable=True) from error
        return {name: await self._reveal(value, self.name, (host,)) for name, value in given.items()}

    async def _fetch(self) -> bytes:
        place = self._api.document
        if not place.startswith(("http://", "https://")):
            return await asyncio.to_thread(_read_file, Path(place))
        target = read_url(place)
        web = self._web.within(self._web.network.with_hosts((target.host,)))
        request = Request("GET", target, MAX_DOCUMENT_BYTES)
        with translated(self.name, request, LOAD_S, safe=True):
            async with asyncio.timeout(LOAD_S):
                answer = await web.exchange(request)
        if answer.status >= 400:
            raise http_failure(self.name, answer)
        return answer.body

    def _base(self, described: str) -> str:
        api = self._api
        base = api.base_url or described
        away = api.document.startswith(("http://", "https://"))
        if not base.startswith(("http://", "https://")) and away:
            base = str(httpx.URL(api.document).join(base or "/"))
        if not base.startswith(("http://", "https://")):
            raise BadDocument('it does not say where the service is; give base_url = "https://..."')
        target = read_url(base)
        if away and (api.auth or api.headers) and not api.base_url and target.origin != read_url(api.document).origin:
            raise BadDocument(
                f"it names the service {target.shown}, and keys go nowhere that only a document from elsewhere names; "
                f'give base_url = "{target.shown}" if that is right'
            )
        return base.rstrip("/")


def _read_file(path: Path) -> bytes:
    if path.stat().st_size > MAX_DOCUMENT_BYTES:
        raise BadDocument(f"longer than {MAX_DOCUMENT_BYTES} bytes")
    return path.read_bytes()


def _read(data: bytes, *, identified: bool) -> Operations:
    try:
        text = data.decode("utf-8")
        document: Any = json.loads(text) if text.lstrip().startswith("{") else read_yaml(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise BadDocument(f"it is neither JSON nor YAML: {error}") from error
    if not isinstance(document, dict):
        raise BadDocument("it is no OpenAPI document")
    try:
        return read_operations(document, identified=identified)
    except (AttributeError, TypeError, KeyError, ValueError, RecursionError) as error:
        raise BadDocument(f"it is built in a way that cannot be read: {error}") from error


def _name_left_out(data: bytes, left_out: Sequence[LeftOut]) -> str:
    """Say which operations are no tools, with their lines where these can be found in good time."""
    root = None
    with suppress(ValueError, yaml.YAMLError, RecursionError):  # of JSON, not all is YAML
        root = compose_yaml(data.decode()) if len(data) <= MAX_LINES_BYTES else None
    shown: list[str] = []
    for each in left_out[:MAX_NAMED]:
        line = _find_line(root, ("paths", each.path, each.method))
        shown.append(f"{f'line {line}: ' if line else ''}{each.method.upper()} {each.path} is left out: {each.reason}")
    return "; ".join(shown) + (f"; and {len(left_out) - MAX_NAMED} more" if len(left_out) > MAX_NAMED else "")


def _find_line(node: yaml.Node | None, path: Sequence[str]) -> int:
    line = 0
    for key in path:
        if not isinstance(node, yaml.MappingNode):
            return 0
        found = next(((k, v) for k, v in node.value if k.value == key), None)
        if found is None:
            return 0
        line, node = found[0].start_mark.line + 1, found[1]
    return line
