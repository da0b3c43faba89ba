"""Sources that several tests of the catalogue use."""

FETCH = '''"""Fetch and parse JSON from a URL."""
import json


def run(url: str, headers: dict = None) -> dict:
    """Fetch JSON data from a URL.

    Args:
        url: The URL to fetch
        headers: Optional HTTP headers

    Returns:
        Parsed JSON response

    Raises:
        RuntimeError: If request fails or response isn't valid JSON
    """
    try:
        response = tools.curl.get(url=url)
        return json.loads(response)
    except json.JSONDecodeError as e:
        raise RuntimeError(f"Invalid JSON from {url}: {e}") from e
'''

RESEARCH = '''"""Research a topic, let a person approve, publish."""
from stepwell import WorkflowContext, event

triggers = [event("topic.requested")]
options = dict(budget_usd=1.0, timeout=3600, pool=None, requires={"gpu": True})


async def run(ctx: WorkflowContext, topic: str, depth: int = 2) -> dict:
    notes = await ctx.step("research", agents.researcher(f"Research: {topic}"), retries=3, timeout=60)
    await ctx.step("review", requires_approval=True)(notes)
    data = workflows.invoke("fetch_json", url="https://example.org")
    html = tools.curl.get(url="https://example.org")
    return {"notes": notes.output, "data": data, "html": html}
'''

TYPES = '''"""Everything the grammar knows."""
from __future__ import annotations
import datetime as dt
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Literal, Optional, TypedDict, Union

class Color(Enum):
    RED = "red"
    BLUE = "blue"

class Options(TypedDict, total=False):
    limit: int

@dataclass
class Node:
    """A node of a tree."""
    name: str
    color: Color = Color.RED
    children: list["Node"] = field(default_factory=list)

Json = Union[dict[str, "Json"], list["Json"], str, int, None]

def run(tree: Node, when: "dt.datetime", options: Options, extra: Json, mode: Literal["a", "b"] = "a",
        pair: tuple[int, str] = (1, "x"), level: Annotated[int, "How deep"] = 2, note: Optional[str] = None) -> list:
    return []
'''
