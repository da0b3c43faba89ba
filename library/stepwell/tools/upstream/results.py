"""What a tool of an upstream server answers, as a value for the workflow."""

import base64
import binascii

from stepwell.model import Json, JsonObject
from stepwell.ports import Binary, CallContext
from stepwell.tools.messages import clean, failure

MAX_PARTS = 1000


async def read_result(tool: str, result: JsonObject, context: CallContext) -> Json:
    """Return the structured content, else a single text, else the list of parts; bytes are kept as artifacts.

    Raises:
        ToolFailure: the tool says that it failed, or its answer holds too much.
    """
    content: list[JsonObject] = result.get("content") or []
    if result.get("isError"):
        said = " ".join(str(part.get("text", "")) for part in content if part.get("type") == "text")
        raise failure(tool, f"{tool}: {clean(said) or 'failed without saying why'}", code="tool_error")
    if len(content) > MAX_PARTS:
        raise failure(tool, f"{tool}: its answer has more than {MAX_PARTS} parts", code="too_large")
    if "structuredContent" in result and result["structuredContent"] is not None:
        return _unwrapped(result["structuredContent"], content)
    if len(content) == 1 and content[0].get("type") == "text":
        return content[0]["text"]
    return [await _part(tool, part, context) for part in content] or None


def _unwrapped(structured: Json, content: list[JsonObject]) -> Json:
    # SDKs wrap what is no object as {"result": ...}, since structured content once had to be one.
    if isinstance(structured, dict) and list(structured) == ["result"] and len(content) <= 1:
        return structured["result"]
    return structured


async def _part(tool: str, part: JsonObject, context: CallContext) -> Json:
    match part.get("type"):
        case "text":
            return {"type": "text", "text": part["text"]}
        case "image" | "audio" as kind:
            return {"type": kind} | await _kept(tool, part["data"], part.get("mimeType"), context)
        case "resource":
            return await _resource(tool, part.get("resource") or {}, context)
        case "resource_link":
            known = ("uri", "name", "title", "description", "mimeType", "size")
            return {"type": "resource_link"} | {name: part[name] for name in known if name in part}
        case other:
            return {"type": str(other)}


async def _resource(tool: str, resource: JsonObject, context: CallContext) -> Json:
    shown = {"type": "resource", "uri": resource.get("uri"), "media_type": resource.get("mimeType")}
    if "blob" in resource:
        return shown | await _kept(tool, resource["blob"], resource.get("mimeType"), context)
    return shown | {"text": resource.get("text", "")}


async def _kept(tool: str, encoded: Json, media_type: Json, context: CallContext) -> JsonObject:
    try:
        data = base64.b64decode(str(encoded), validate=True)
    except (binascii.Error, ValueError) as error:
        raise failure(tool, f"{tool}: its answer holds bytes that are no base64", code="bad_answer") from error
    kind = clean(str(media_type or "application/octet-stream"), 100)
    if context.save is None:
        return {"media_type": kind, "base64": encoded}
    return await context.save(Binary(data, kind))
