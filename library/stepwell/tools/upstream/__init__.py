"""Tools of other MCP servers, which this host starts or reaches over HTTP."""

from stepwell.tools.upstream.config import McpServer, Reveal

__all__ = ["McpServer", "Reveal"]
