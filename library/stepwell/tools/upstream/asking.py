"""A server's question to a person, in its words and in ours."""

from typing import Any

from mcp.types import ElicitRequestFormParams, ElicitResult

from stepwell.ports import Inquiry, Reply

MAX_FIELDS = 30
MAX_PROMPT = 4000  # characters


def as_inquiry(params: ElicitRequestFormParams) -> Inquiry:
    """Return the question without what is not needed to ask it."""
    schema: dict[str, Any] = params.model_dump(by_alias=True, mode="json")["requestedSchema"]
    properties: dict[str, Any] = schema.get("properties") or {}
    kept = dict(list(properties.items())[:MAX_FIELDS])
    required = [name for name in schema.get("required") or [] if name in kept]
    return Inquiry(params.message[:MAX_PROMPT], {"type": "object", "properties": kept, "required": required})


def as_result(reply: Reply) -> ElicitResult:
    """Return the answer as the protocol has it: lists of texts, texts, numbers and truth values only."""
    if reply.action != "accept":
        return ElicitResult(action=reply.action)
    content: dict[str, Any] = {name: value for name, value in reply.content.items() if value is not None}
    return ElicitResult(action="accept", content=content)
