"""What a toolbox of this host holds, read when a tool is first asked for."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from stepwell.tools.commands import CommandTool, find_program
from stepwell.tools.connect import open_client
from stepwell.tools.exchange import WebClient
from stepwell.tools.network import NetworkPolicy
from stepwell.tools.openapi import OpenApi
from stepwell.tools.openapi.source import OpenApiSource
from stepwell.tools.python import PythonModule, PythonSource
from stepwell.tools.recipe_files import LoadedFile, RecipeError, list_recipe_files, parse_recipes, read_recipe_file
from stepwell.tools.sources import Source, name_sources
from stepwell.tools.tool import Tool
from stepwell.tools.upstream import McpServer, Reveal
from stepwell.tools.upstream.server import UpstreamSource
from stepwell.tools.web import FetchTool, RequestTool

MAX_COMMANDS = 16  # processes at one time; our choice


@dataclass(frozen=True, slots=True)
class Contents:
    """The tools that stand fixed, and the sources of those that may change."""

    tools: Sequence[Tool]
    sources: Sequence[Source]
    problems: tuple[str, ...]


def fill_toolbox(
    stack: AsyncExitStack,
    folder: Path | None,
    network: NetworkPolicy,
    servers: Sequence[McpServer],
    apis: Sequence[OpenApi],
    modules: Sequence[PythonModule],
    kept: Path | None,
    reveal: Reveal,
) -> Contents:
    """Read what there is, see `open_toolbox`; the stack closes what is opened. Nothing is asked of anybody yet."""
    client = open_client(network)
    stack.push_async_callback(client.aclose)
    web = WebClient(client, network)
    slots = asyncio.Semaphore(MAX_COMMANDS)
    tools: dict[str, Tool] = {tool.spec.name: tool for tool in (FetchTool(web), RequestTool(web))}
    problems: list[str] = []
    for file in [*_shipped(), *_read_folder(folder, problems)]:
        problems += _add(tools, file, network, slots)
    origins = [*servers, *apis, *modules]
    taken = {name.partition(".")[0] for name in tools}
    sources: list[UpstreamSource | OpenApiSource | PythonSource] = []
    for origin, name in zip(origins, name_sources([each.name for each in origins], taken, problems), strict=True):
        match origin:
            case McpServer():
                sources.append(UpstreamSource(origin, name, kept, reveal))
            case OpenApi():
                sources.append(OpenApiSource(origin, name, web, reveal))
            case PythonModule():
                sources.append(PythonSource(origin, name))
    if sources:
        stack.push_async_callback(_close, sources)
    return Contents(list(tools.values()), sources, tuple(problems))


async def _close(sources: Sequence[UpstreamSource | OpenApiSource | PythonSource]) -> None:
    await asyncio.wait([asyncio.create_task(source.close()) for source in sources])


def _shipped() -> list[LoadedFile]:
    files = sorted(resources.files("stepwell.tools.builtin").iterdir(), key=lambda entry: entry.name)
    return [
        LoadedFile(Path(entry.name), parse_recipes(entry.read_text("utf-8"), entry.name, entry.name[:-5]))
        for entry in files
        if entry.name.endswith(".yaml")
    ]


def _read_folder(folder: Path | None, problems: list[str]) -> list[LoadedFile]:
    loaded: list[LoadedFile] = []
    for path in list_recipe_files(folder) if folder else []:
        try:
            loaded.append(read_recipe_file(path))
        except RecipeError as error:
            problems += str(error).split("\n")
    return loaded


def _add(tools: dict[str, Tool], file: LoadedFile, network: NetworkPolicy, slots: asyncio.Semaphore) -> list[str]:
    tool = file.content.tool
    # A tool's name is one namespace: recipes of two files must not mix under it.
    if any(name == tool or name.startswith(f"{tool}.") for name in tools):
        return [f"{file.path}: the name {tool} is taken by another tool; give this one another `tool:`"]
    for recipe in file.content.recipes:
        made = CommandTool(file, recipe, network, slots)
        tools[made.spec.name] = made
    if find_program(file.content.command, file.path) is None:
        return [f"{file.path}: the command {file.content.command} is not installed. {file.content.install}".strip()]
    return []
