"""Workflows as plain files: a header of comments, then the source as it is stored, byte for byte."""

import json
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from stepwell.errors import InvalidSource
from stepwell.model import Workflow

OPENING = "# /// stepwell"
CLOSING = "# ///"
MAX_HEADER = 64 * 1024  # characters
_KEYS = {"description": str, "intents": list, "tags": list, "entry": str, "pinned": bool}


@dataclass(frozen=True, slots=True)
class Exported:
    """What a file says of a workflow."""

    source: str
    description: str | None = None
    """None: the docstring's."""
    intents: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    entry: str | None = None
    pinned: bool = False


def write_file(workflow: Workflow) -> str:
    """Return the text of a workflow's file. Equal workflows give equal texts, so that git shows real changes only."""
    version = workflow.version
    said: dict[str, Any] = {}
    if workflow.description != version.description:
        said["description"] = workflow.description
    if workflow.intents:
        said["intents"] = list(workflow.intents)
    if workflow.tags:
        said["tags"] = list(workflow.tags)
    if version.entry not in ("", "run"):
        said["entry"] = version.entry
    if workflow.pinned:
        said["pinned"] = True
    lines = [f"# {key} = {_toml(value)}" for key, value in said.items()]
    return "\n".join([OPENING, *lines, CLOSING, ""]) + version.source


def read_file(text: str) -> Exported:
    """Return what a file says. One without a header is a source alone.

    Raises:
        InvalidSource: the header is not closed, is no TOML, or says something unknown.
    """
    if not text.startswith(f"{OPENING}\n"):
        return Exported(text)
    end = re.compile(r"^# ///\n?", re.MULTILINE).search(text, len(OPENING) + 1, MAX_HEADER)
    if end is None:
        raise InvalidSource(f"The header {OPENING!r} is not closed.", hint=f"End it with a line {CLOSING!r}.")
    lines = text[len(OPENING) + 1 : end.start()].split("\n")
    if any(line and not line.startswith("# ") for line in lines):
        raise InvalidSource("A line of the header does not begin with '# '.", line=1)
    try:
        said = tomllib.loads("\n".join(line[2:] for line in lines))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InvalidSource(f"The header is no TOML: {error}", line=1) from error
    for key, value in said.items():
        if key not in _KEYS or not isinstance(value, _KEYS[key]):
            raise InvalidSource(
                f"The header has {key!r}, or of a wrong type.", hint=f"Known: {', '.join(_KEYS)}.", line=1
            )
    texts = {key: tuple(map(str, said.get(key, ()))) for key in ("intents", "tags")}
    return Exported(
        text[end.end() :],
        said.get("description"),
        texts["intents"],
        texts["tags"],
        said.get("entry"),
        said.get("pinned", False),
    )


def skill_name(name: str) -> str:
    """Return the name of a workflow's skill: lower case, with hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:64].rstrip("-") or "workflow"


def write_skill(workflow: Workflow, call: str) -> dict[str, str]:
    """Return the files of an Agent Skill by their paths in its folder. `call` is an MCP call to paste."""
    version = workflow.version
    described = " ".join(workflow.description.split()) or f"Run the workflow {workflow.name}."
    when = f" Use it for requests like: {'; '.join(workflow.intents[:3])}." if workflow.intents else ""
    rows = [
        f"| `{item.name}` | {_cell(item.annotation or 'any')} | {'yes' if item.required else 'no'} "
        f"| {_cell(item.description)} |"
        for item in version.parameters
    ]
    table = (
        ["| input | type | needed | what it is |", "| --- | --- | --- | --- |", *rows]
        if rows
        else ["It takes no input."]
    )
    arguments = " ".join(f"{item.name}=..." for item in version.parameters if item.required)
    body = [
        "---",
        f"name: {skill_name(workflow.name)}",
        f"description: {json.dumps((described + when)[:1024], ensure_ascii=False)}",
        "---",
        "",
        f"# {workflow.name}",
        "",
        described,
        "",
        *table,
        "",
        f"It returns: {version.returns or 'any value'}. {version.returns_description}".rstrip(),
        "",
        "## Run it",
        "",
        "With the Stepwell MCP server:",
        "",
        f"    {call}",
        "",
        "On the command line:",
        "",
        f"    stepwell run {workflow.name} {arguments}".rstrip(),
        "",
        f"Where it is not stored yet: `stepwell import scripts/{workflow.name}.py`. The script runs in Stepwell's"
        " sandbox, not by itself: `tools`, `ctx` and `artifacts` are given by it.",
        "",
    ]
    return {"SKILL.md": "\n".join(body), f"scripts/{workflow.name}.py": write_file(workflow)}


def _toml(value: str | bool | Iterable[str]) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    # Strings of JSON are strings of TOML, but for one control character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
