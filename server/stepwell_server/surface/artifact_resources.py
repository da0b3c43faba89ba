"""What runs have saved, as resources: `stepwell://artifact/{run_id}/{name}`."""

from urllib.parse import quote, unquote

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError
from mcp.types import Resource

from stepwell.errors import NotFound
from stepwell_server.app import App

MAX_LISTED = 200
TEXT_TYPES = ("text/", "application/json")


def add_artifacts(server: MCPServer, app: App) -> None:
    """Offer every artifact under its run and name."""

    async def read(run_id: str, name: str) -> str | bytes:
        """Read what a run has saved with artifacts.save."""
        try:
            found = await app.engine.artifact(run_id, unquote(name))
        except NotFound as error:
            raise ResourceNotFoundError(f"{error.message}. {error.hint}") from error
        return found.data.decode() if found.media_type.startswith(TEXT_TYPES) else found.data

    server.resource("stepwell://artifact/{run_id}/{name}", name="artifact", title="Artifacts of runs")(read)


async def list_artifacts(app: App) -> list[Resource]:
    """Return the newest artifact of every name, the newest ones if there are many."""
    newest = sorted(await app.engine.artifacts(limit=MAX_LISTED), key=lambda item: -item.created_at)
    return [
        Resource(
            uri=f"stepwell://artifact/{item.run_id}/{quote(item.name, safe='')}",
            name=item.name,
            description=item.description or None,
            mime_type=item.media_type,
            size=item.size,
        )
        for item in newest
    ]
