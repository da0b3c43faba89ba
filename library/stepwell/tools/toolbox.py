"""All tools of this host, under the operator's rules."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from stepwell.errors import ToolFailure
from stepwell.model import Json, JsonObject
from stepwell.ports import CallContext, Caller, Gate, ToolSpec
from stepwell.ports.tools import ToolSearch
from stepwell.tools.binding import Validator, bind_arguments, make_validator
from stepwell.tools.commands import CommandTool, find_program
from stepwell.tools.connect import open_client
from stepwell.tools.exchange import WebClient
from stepwell.tools.gates import make_gate, undeclared
from stepwell.tools.messages import failure
from stepwell.tools.network import NetworkPolicy
from stepwell.tools.ranking import ToolRanking
from stepwell.tools.recipe_files import LoadedFile, RecipeError, list_recipe_files, parse_recipes, read_recipe_file
from stepwell.tools.rules import ToolRules, names_tool
from stepwell.tools.tool import Tool
from stepwell.tools.web import FetchTool, RequestTool

MAX_COMMANDS = 16  # processes at one time; our choice


@dataclass(frozen=True, slots=True)
class _Entry:
    tool: Tool
    spec: ToolSpec


class Toolbox:
    """The `ToolHost` of this process. Make it with `open_toolbox`."""

    def __init__(
        self, tools: Iterable[Tool], rules: ToolRules, network: NetworkPolicy, problems: tuple[str, ...] = ()
    ) -> None:
        self.problems = problems
        """What the operator should mend: recipe files that were skipped, commands that are not installed."""
        ordered = sorted(tools, key=lambda tool: tool.spec.name)
        self._entries = {tool.spec.name: _Entry(tool, rules.apply(tool.spec)) for tool in ordered}
        self._validators: dict[str, Validator] = {}
        self._ranking = ToolRanking()
        self._rules, self._network = rules, network

    def list_tools(self) -> list[ToolSpec]:
        """Return all tools, ordered by name, denied ones too."""
        return [entry.spec for entry in self._entries.values()]

    def find_tool(self, name: str) -> ToolSpec | None:
        """Return the tool of that dotted name, or None."""
        entry = self._entries.get(name)
        return entry.spec if entry else None

    async def search_tools(self, query: str, limit: int) -> ToolSearch:
        """Return the tools that fit the query, best first; denied ones are left out."""
        return await self._ranking.search((spec for spec in self.list_tools() if spec.policy != "deny"), query, limit)

    def close(self) -> None:
        """Give back what searching has taken."""
        self._ranking.close()

    def admit(self, name: str, caller: Caller) -> ToolSpec:
        """Return the tool of that name, with the policy that it has for the caller.

        Raises:
            ToolFailure: see `ToolHost.admit`.
        """
        entry = self._entries.get(name)
        if entry is None:
            raise _unknown(name)
        spec = replace(entry.spec, policy=self._rules.policy_for(entry.spec, caller))
        if spec.policy == "deny":
            raise _denied(name)
        if not self._rules.dynamic and not names_tool(caller.tools, name):
            raise undeclared(spec, caller.tools or ())
        return spec

    def gate(self, spec: ToolSpec, arguments: JsonObject) -> Gate | None:
        """Return what a person must allow before a call, if anything.

        Raises:
            ToolFailure: code `not_allowed`: no person can allow it.
        """
        hosts = self._allowed(spec.name).tool.hosts(arguments)
        return make_gate(spec, arguments, hosts, self._network, self._rules)

    def bind(self, spec: ToolSpec, args: list[Json], kwargs: JsonObject) -> JsonObject:
        """Return the arguments object of a call.

        Raises:
            ToolFailure: code `invalid_arguments` or `not_allowed`.
        """
        entry = self._allowed(spec.name)
        validator = self._validators.get(spec.name)
        if validator is None:
            validator = self._validators[spec.name] = make_validator(entry.spec)
        arguments = bind_arguments(entry.spec, validator, args, kwargs)
        entry.tool.check(arguments)
        return arguments

    async def call(self, spec: ToolSpec, arguments: JsonObject, context: CallContext) -> Json:
        """Make the call and return its value.

        Raises:
            ToolFailure: the tool answered with an error.
            OutcomeUnknown: the call was made, cannot be repeated, and no answer came.
        """
        entry = self._allowed(spec.name)
        return await entry.tool.call(entry.spec, arguments, context)

    def _allowed(self, name: str) -> _Entry:
        entry = self._entries.get(name)
        if entry is None:
            raise _unknown(name)
        if entry.spec.policy == "deny":
            raise _denied(name)
        return entry


@asynccontextmanager
async def open_toolbox(
    folder: Path | None = None, *, network: NetworkPolicy | None = None, rules: ToolRules | None = None
) -> AsyncGenerator[Toolbox, None]:
    """Open the built-in tools and those of the folder's `*.yaml` files; on exit connections are closed.

    A file that is wrong, and a name that is taken, is a line in `problems`; the other tools work.
    """
    allowed = network or NetworkPolicy()
    async with open_client(allowed) as client:
        web = WebClient(client, allowed)
        slots = asyncio.Semaphore(MAX_COMMANDS)
        tools: dict[str, Tool] = {tool.spec.name: tool for tool in (FetchTool(web), RequestTool(web))}
        problems: list[str] = []
        for file in [*_shipped(), *_read_folder(folder, problems)]:
            problems += _add(tools, file, allowed, slots)
        toolbox = Toolbox(tools.values(), rules or ToolRules(), allowed, tuple(problems))
        try:
            yield toolbox
        finally:
            toolbox.close()


def _unknown(name: str) -> ToolFailure:
    return failure(name, f"there is no tool {name} on this host", code="unknown_tool")


def _denied(name: str) -> ToolFailure:
    return failure(
        name,
        f"{name}: the operator's policy denies this tool",
        code="not_allowed",
        hint="The operator can change it in stepwell.toml: [policy] tools.",
    )


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
