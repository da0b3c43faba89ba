"""The server: MCP tools, command line, harness."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepwell_server.session import Session

__all__ = ["Session"]


def __getattr__(name: str) -> Any:
    if name == "Session":
        # The command line imports this package too, and most of its commands need no engine.
        from stepwell_server.session import Session  # noqa: PLC0415

        return Session
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
