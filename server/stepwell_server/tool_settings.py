"""The parts of `stepwell.toml` that say where tools come from."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from stepwell.ports import KeyPlace
from stepwell.tools.openapi import OpenApi
from stepwell.tools.python import PythonModule
from stepwell.tools.upstream import McpServer

MAX_TIMEOUT_S = 3600


def _check_name(name: str) -> str:
    if not name.strip() or len(name) > 64 or not name.isprintable():
        raise ValueError(f"{name!r} is no name of a server: 1 to 64 printable characters")
    return name


def _check_url(url: str) -> str:
    # One with `${NAME}` in it is known only when it is used.
    if "${" not in url:
        import httpx  # noqa: PLC0415  a tenth of a second, which a home without servers should not spend

        parsed = httpx.URL(url)
        if parsed.scheme not in {"http", "https"} or not parsed.host:
            raise ValueError(f'"{url}" is no address of an MCP server; write "https://host/mcp"')
    return url


def _check_directory(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_absolute():
        raise ValueError(f'"{text}" must be an absolute path')
    return path


ServerName = Annotated[str, AfterValidator(_check_name)]
Seconds = Annotated[float, Field(gt=0, le=MAX_TIMEOUT_S)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class McpServerSettings(_Section):
    """`[mcp_servers.NAME]`: a command that is started, or a URL."""

    command: Annotated[str, Field(min_length=1)] | None = None
    args: Annotated[tuple[str, ...], Field(strict=False)] = ()
    env: dict[str, str] = {}
    cwd: Annotated[str, AfterValidator(_check_directory)] | None = None
    url: Annotated[str, AfterValidator(_check_url)] | None = None
    headers: dict[str, str] = {}
    timeout_s: Seconds = 60.0
    """Of one call."""
    start_timeout_s: Seconds = 30.0
    disabled: bool = False

    @model_validator(mode="after")
    def _check(self) -> "McpServerSettings":
        if (self.command is None) == (self.url is None):
            raise ValueError('give either command = "..." or url = "https://..."')
        strange = ("args", "env", "cwd") if self.url is not None else ("headers",)
        if found := [name for name in strange if getattr(self, name)]:
            raise ValueError(f"{found[0]} does not go with {'url' if self.url is not None else 'command'}")
        return self

    def server(self, name: str) -> McpServer:
        """Return it as the library has it."""
        return McpServer(
            name,
            self.command or "",
            self.args,
            self.env,
            Path(self.cwd) if self.cwd else None,
            self.url or "",
            self.headers,
            self.timeout_s,
            self.start_timeout_s,
        )


class OpenApiSettings(_Section):
    """`[openapi.NAME]`: an HTTP service whose operations are tools."""

    document: Annotated[str, Field(min_length=1)]
    """A path, below the home if it is relative, or an http(s) address."""
    base_url: Annotated[str, AfterValidator(_check_url)] | None = None
    """Where the service is; what the document says unless given."""
    headers: dict[str, str] = {}
    auth: dict[str, str] = {}
    """By security scheme of the document: a key, a token, or `user:password`."""
    timeout_s: Seconds = 60.0

    def api(self, name: str, home: Path) -> OpenApi:
        """Return it as the library has it."""
        away = self.document.startswith(("http://", "https://"))
        document = self.document if away else str(home / Path(self.document).expanduser())
        return OpenApi(name, document, self.base_url or "", self.headers, self.timeout_s, self.auth)


class PythonSettings(_Section):
    """`[python.NAME]`: a module of the operator's with functions that are tools."""

    module: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.]*$")] | None = None
    """Its import name."""
    file: Annotated[str, Field(min_length=1)] | None = None
    """Or its path, below the home if it is relative."""

    @model_validator(mode="after")
    def _check(self) -> "PythonSettings":
        if (self.module is None) == (self.file is None):
            raise ValueError('give either module = "package.module" or file = "tools.py"')
        return self

    def module_of(self, name: str, home: Path) -> PythonModule:
        """Return it as the library has it."""
        return PythonModule(name, self.module or "", home / Path(self.file).expanduser() if self.file else None)


def read_key_place(value: Any) -> KeyPlace:
    """Return where a tool takes the idempotency key.

    Raises:
        ValueError: it is written otherwise.
    """
    if isinstance(value, dict) and len(value) == 1:  # pyright: ignore[reportUnknownArgumentType]
        ((kind, name),) = value.items()
        if kind in ("header", "argument", "meta") and isinstance(name, str) and name:
            return KeyPlace(kind, name)
    raise ValueError(
        'write { header = "Idempotency-Key" }, { argument = "request_id" } or { meta = "example.org/key" }'
    )
