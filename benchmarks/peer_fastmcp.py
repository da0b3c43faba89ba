"""FastMCP's BM25 search transform over tools, through its own server: JSON on stdin, places of tools on stdout."""

import asyncio
import json
import sys

from fastmcp import Client, FastMCP
from fastmcp.server.transforms.search import BM25SearchTransform
from fastmcp.tools import Tool


class Listed(Tool):
    """A tool that is only looked for."""

    async def run(self, arguments):
        raise NotImplementedError


async def main() -> None:
    asked = json.load(sys.stdin)
    server = FastMCP("peer")
    places = {}
    for place, tool in enumerate(asked["tools"]):
        properties = {name: {"type": "string", "description": said} for name, said in tool["parameters"]}
        places.setdefault(tool["name"], place)
        server.add_tool(
            Listed(
                name=tool["name"],
                description=tool["description"],
                parameters={"type": "object", "properties": properties},
            )
        )
    server.add_transform(BM25SearchTransform(max_results=asked["depth"]))
    found = []
    async with Client(server) as client:
        for request in asked["requests"]:
            result = await client.call_tool("search_tools", {"query": request})
            tools = (
                result.structured_content["result"] if result.structured_content else json.loads(result.content[0].text)
            )
            found.append([places[tool["name"]] for tool in tools])
    print(json.dumps(found))


asyncio.run(main())
