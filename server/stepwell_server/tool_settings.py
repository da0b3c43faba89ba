"""The parts of `stepwell.toml` that say where tools come from."""

from pathlib import Path
from typing import Annotated

import httpx
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from stepwell.tools.upstream import McpServer

MAX_TIMEOUT_S = 3600


def _check_name(name: str) -> str:
    if not name.strip() or len(name) > 64 or not name.isprintable():
        raise ValueError(f"{name!r} is no name of a server: 1 to 64 printable characters")
    return name


def _check_url(url: str) -> str:
    # One with `${NAME}` in it is known only when it is used.
    if "${" not in url:
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


class McpServerSettings(BaseModel):
    """`[mcp_servers.NAME]`: a command that is started, or a URL."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

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
