"""Tools of other MCP servers, which this host starts or reaches over HTTP."""

from stepwell.tools.upstream.config import McpServer, Reveal
from stepwell.tools.upstream.server import UpstreamSource, open_upstreams

__all__ = ["McpServer", "Reveal", "UpstreamSource", "open_upstreams"]
