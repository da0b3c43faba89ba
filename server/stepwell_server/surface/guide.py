"""The guides: texts from which a model learns the product."""

from functools import cache
from importlib import resources

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError
from mcp.server.mcpserver.resources import TextResource

TOPICS = {
    "authoring": "How to write a workflow that works at the first try",
    "durability": "Steps, retries, timeouts, and what survives a crash",
    "tools": "What a workflow can call: web, commands, other workflows, artifacts",
    "approvals": "Approvals, questions to a person, events and timers",
    "errors": "What each error means and what to do about it",
    "examples": "Complete workflows to start from",
}


@cache
def read_guide(topic: str) -> str:
    """Return the text of a topic, Markdown."""
    return (resources.files("stepwell_server") / "guide" / f"{topic}.md").read_text("utf-8")


def add_guides(server: MCPServer) -> None:
    """Offer every guide as `stepwell://guide/{topic}`."""
    server.resource("stepwell://guide/{topic}", name="guide", title="Guides", mime_type="text/markdown")(_read)
    for topic, title in TOPICS.items():
        server.add_resource(
            TextResource(
                uri=f"stepwell://guide/{topic}",
                name=topic,
                title=title,
                description=title,
                mime_type="text/markdown",
                text=read_guide(topic),
            )
        )


def _read(topic: str) -> str:
    """Read a guide by its topic."""
    if topic not in TOPICS:
        raise ResourceNotFoundError(f"There is no guide of that name. Topics: {', '.join(TOPICS)}.")
    return read_guide(topic)
