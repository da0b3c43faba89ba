"""What `help(tools.x.y)` says in a workflow."""

from stepwell.errors import NotFound
from stepwell.model import Json
from stepwell.ports import ToolHost, ToolSpec
from stepwell.tools import signature
from stepwell.tools.messages import clean

MAX_LISTED = 200
MAX_LINE = 160  # characters of a description in a list
MAX_ARGUMENT = 400


async def help_text(tools: ToolHost, name: str) -> str:
    """Return the description of a tool, or of the tools of a group; of all for an empty name.

    Raises:
        NotFound: there is neither; the message names near ones.
    """
    await tools.prepare(name)
    spec = tools.find_tool(name) if name else None
    if spec is not None:
        return _describe(spec)
    await tools.prepare()
    found = [each for each in tools.list_tools() if not name or each.name.startswith(f"{name}.")]
    if not found:
        raise NotFound((await tools.missing(name)).message, hint="tools.list() shows all.")
    lines = [f"tools.{signature(each)}\n    {clean(each.description, MAX_LINE)}" for each in found[:MAX_LISTED]]
    more = [f"and {len(found) - MAX_LISTED} more"] if len(found) > MAX_LISTED else []
    return "\n".join([*lines, *more])


def _describe(spec: ToolSpec) -> str:
    lines = [f"tools.{signature(spec)}", "", spec.description]
    properties: dict[str, Json] = spec.schema.get("properties") or {}
    said = [(name, each.get("description")) for name, each in properties.items() if isinstance(each, dict)]
    if described := [f"    {name}: {clean(str(text), MAX_ARGUMENT)}" for name, text in said if text]:
        lines += ["", "Arguments:", *described]
    kind = "only reads" if spec.read_only else "may be repeated" if spec.idempotent else "changes something"
    lines += ["", f"It {kind}; policy: {spec.policy}." + (f" From {spec.origin}." if spec.origin else "")]
    return "\n".join(lines)
