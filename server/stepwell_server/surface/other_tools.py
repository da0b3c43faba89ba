"""The tools over host tools, artifacts, events and guides."""

import base64

from stepwell.errors import NotFound
from stepwell.model import JsonObject
from stepwell.ports import ToolSpec
from stepwell.ports.tools import ToolHit
from stepwell_server.functions import agent_summary, tool_summary
from stepwell_server.surface.arguments import EmitEvent, GetGuide, ReadArtifact, SearchTools
from stepwell_server.surface.guide import TOPICS, read_guide
from stepwell_server.surface.mistakes import near
from stepwell_server.surface.paging import page
from stepwell_server.surface.replies import fit_list, reply, shorten, size
from stepwell_server.surface.table import Answer, Call

TEXT_BYTES = 15_000  # of an artifact in one result
BINARY_BYTES = 11_000  # base64 makes four of three
TEXT_TYPES = ("text/", "application/json")
MAX_DESCRIPTION = 600  # characters of a tool's description
MAX_SCHEMA = 3_000  # bytes of its schema
MAX_AGENTS = 10


async def search_tools(call: Call, given: SearchTools) -> Answer:
    """Find what workflows can call as `tools.<name>`."""
    toolbox = call.app.tools
    await toolbox.prepare()
    every = [tool for tool in toolbox.list_tools() if tool.policy != "deny"]
    found = await toolbox.search_tools(given.query, given.limit)
    shown, _ = fit_list([_describe(hit.spec) | _fitness(hit) for hit in found.items])
    follow = "Call them inside a workflow's source or run_code, as in `call`."
    if not shown:
        names = ", ".join(tool.name for tool in every[:30])
        follow = f"No tool fits. There are: {names}." if names else "This host has no tools for workflows."
    if found.low_confidence and shown:
        follow = "None of these fits well. Say what the tool should do: a verb, what it acts on, where."
    how: JsonObject = {"mode": found.mode, "model": found.model, "pending": found.pending}
    agents = [agent_summary(agent) for agent in call.app.models.list_agents()[:MAX_AGENTS]]
    how |= {"agents": agents} if agents else {}
    return reply({"tools": shown, "total": len(every)} | how | {"low_confidence": found.low_confidence, "next": follow})


def _fitness(hit: ToolHit) -> JsonObject:
    return {"score": hit.score, "why": hit.why} if hit.why else {}


def _describe(tool: ToolSpec) -> JsonObject:
    summary = tool_summary(tool)
    summary["description"] = shorten(tool.description, MAX_DESCRIPTION)
    return summary | {"schema": tool.schema if size(tool.schema) < MAX_SCHEMA else {"cut": "large; see `call`"}}


async def read_artifact(call: Call, given: ReadArtifact) -> Answer:
    """Read what a run has saved."""
    artifact = await call.app.engine.artifact(given.run_id, given.name)
    result: JsonObject = {"run_id": given.run_id, "name": artifact.name, "media_type": artifact.media_type}
    text = _decode(artifact.data) if artifact.media_type.startswith(TEXT_TYPES) else None
    if text is not None:
        part = page(text, "", given.offset, TEXT_BYTES)
        result |= {"size": len(text), "unit": "characters", "offset": given.offset, "text": part.value}
        following = part.next_offset
    else:
        data = artifact.data[given.offset : given.offset + BINARY_BYTES]
        end = given.offset + len(data)
        result |= {"size": len(artifact.data), "unit": "bytes", "offset": given.offset}
        result["base64"] = base64.b64encode(data).decode()
        following = end if data and end < len(artifact.data) else None
    if following is not None:
        result["next"] = f'read_artifact(run_id="{given.run_id}", name="{given.name}", offset={following})'
    return reply(result)


def _decode(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


async def emit_event(call: Call, given: EmitEvent) -> Answer:
    """Send an event to the runs that wait for it."""
    emitted = await call.app.engine.emit(given.name, given.payload, given.event_id, run_id=given.run_id)
    delivered = list(emitted.delivered)
    follow = "Look at a run with get_run." if delivered else "No run waits for it yet; one that comes to wait gets it."
    if emitted.duplicate:
        follow = "An event with this event_id was sent before; nothing was sent again."
    return reply(
        {
            "event_id": emitted.event_id,
            "delivered": delivered[:200],
            "count": emitted.count,
            "duplicate": emitted.duplicate,
            "next": follow,
        }
    )


async def get_guide(call: Call, given: GetGuide) -> Answer:
    """Read a guide."""
    topic = given.topic.strip().lower()
    if topic not in TOPICS:
        others = near(topic, TOPICS)
        hint = f"Did you mean {others[0]}? " if others else ""
        raise NotFound(f"There is no guide {shorten(given.topic, 60)!a}.", hint=f"{hint}Topics: {', '.join(TOPICS)}.")
    return reply({"topic": topic, "text": read_guide(topic), "topics": list(TOPICS)})
