"""An HTTP service with an OpenAPI document as a source of tools."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from stepwell.errors import ToolFailure
from stepwell.model import JsonObject
from stepwell.ports import ToolSpec
from stepwell.tools.exchange import Request, WebClient, http_failure, translated
from stepwell.tools.messages import clean, failure
from stepwell.tools.mistakes import dotted
from stepwell.tools.network import Refused, read_url
from stepwell.tools.openapi.operations import BadDocument, Operation, find_base, read_operations
from stepwell.tools.openapi.tool import OperationTool
from stepwell.tools.tool import Tool
from stepwell.tools.upstream.config import MissingVariable, Reveal, expand

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
LOAD_S = 30.0
READ_ONLY = {"GET", "HEAD", "OPTIONS"}


@dataclass(frozen=True, slots=True)
class OpenApi:
    """A service, as the operator says."""

    name: str
    document: str
    """A path or an http(s) address."""
    base_url: str = ""
    """Where the service is; what the document says unless given, and then subject to the list of hosts."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    timeout_s: float = 60.0


class OpenApiSource:
    """A `Source`: the document is read when a tool of it is looked for."""

    def __init__(self, api: OpenApi, namespace: str, web: WebClient, reveal: Reveal) -> None:
        self.name = namespace
        self.section = dotted(["openapi", api.name])
        self.revision = 0
        self.problem = ""
        self._api = api
        self._web = web
        self._reveal = reveal
        self._tools: list[Tool] = []
        self._loading: asyncio.Task[None] | None = None
        self._loaded = False

    def tools(self) -> Sequence[Tool]:
        """Return the operations, none before the document was read."""
        return self._tools

    async def prepare(self, missing: str = "") -> None:
        """Read the document if that was not done; one that failed is tried again for a call."""
        if self._loaded or (self.problem and not missing):
            return
        if self._loading is None or self._loading.done():
            self._loading = asyncio.create_task(self._load())
        await asyncio.wait([self._loading])

    async def close(self) -> None:
        """Give up reading."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.wait([self._loading])

    async def _load(self) -> None:
        try:
            document, operations = await asyncio.to_thread(_read, await self._fetch())
            base = self._base(document)
        except (BadDocument, OSError, ToolFailure, Refused, TimeoutError) as error:
            self.problem = clean(
                f"openapi {self._api.name}: {self._api.document}: {error or type(error).__name__}", 500
            )
            return
        self._tools = [self._tool(operation, base) for operation in operations]
        self.problem, self._loaded = "", True
        self.revision += 1

    def _tool(self, operation: Operation, base: str) -> OperationTool:
        spec = ToolSpec(
            name=f"{self.name}.{operation.name}",
            description=operation.description,
            schema=operation.schema,
            returns=operation.returns,
            read_only=operation.method in READ_ONLY,
            idempotent=operation.method in ("PUT", "DELETE"),
            destructive=operation.method == "DELETE",
            origin=clean(f"{operation.method} {operation.path} of {self._api.name}", 200),
        )
        own_host = () if self._api.base_url else (read_url(base).host,)
        return OperationTool(spec, operation, base, own_host, self._web, self._headers, self._api.timeout_s)

    async def _headers(self) -> dict[str, str]:
        try:
            given = {name: expand(value) for name, value in self._api.headers.items()}
        except MissingVariable as error:
            raise failure(self.name, f"{self.name}: {error}", code="not_started", retryable=True) from error
        return {name: await self._reveal(value, self.name) for name, value in given.items()}

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

    def _base(self, document: JsonObject) -> str:
        base = self._api.base_url or find_base(document)
        if not base.startswith(("http://", "https://")) and self._api.document.startswith(("http://", "https://")):
            base = str(httpx.URL(self._api.document).join(base or "/"))
        if not base.startswith(("http://", "https://")):
            raise BadDocument('it does not say where the service is; give base_url = "https://..."')
        read_url(base)
        return base.rstrip("/")


def _read_file(path: Path) -> bytes:
    if path.stat().st_size > MAX_DOCUMENT_BYTES:
        raise BadDocument(f"longer than {MAX_DOCUMENT_BYTES} bytes")
    return path.read_bytes()


def _read(data: bytes) -> tuple[JsonObject, list[Operation]]:
    try:
        text = data.decode("utf-8")
        document: Any = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise BadDocument(f"it is neither JSON nor YAML: {error}") from error
    if not isinstance(document, dict):
        raise BadDocument("it is no OpenAPI document")
    try:
        return document, read_operations(document)
    except (AttributeError, TypeError, KeyError, ValueError, RecursionError) as error:
        raise BadDocument(f"it is built in a way that cannot be read: {error}") from error
