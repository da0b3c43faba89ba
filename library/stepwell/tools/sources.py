"""Where tools come from: each source has a namespace of its own, and its listing may change while it runs."""

import keyword
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from stepwell.tools.tool import Tool

MAX_PART = 64  # characters of one part of a dotted name
# Taken by `tools.list()`, `tools.search()`, `tools.call()`, the same of a namespace, and what each function has itself.
RESERVED = frozenset({"call", "kind", "list", "name", "search", "start"})
_OUTSIDE = re.compile(r"[^A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of a source that was asked for its tools."""

    name: str
    section: str
    """Where `stepwell.toml` describes it."""
    tools: int
    problem: str
    late: bool
    """It had no time to tell: the problem, if there is one, is of before."""


class Source(Protocol):
    """Tools under one namespace."""

    @property
    def section(self) -> str:
        """Where `stepwell.toml` describes it: `mcp_servers.github`."""
        ...

    @property
    def name(self) -> str:
        """The namespace: the first part of its tools' dotted names."""
        ...

    @property
    def revision(self) -> int:
        """Counts up whenever the listing changes."""
        ...

    @property
    def problem(self) -> str:
        """What the operator should mend; empty if nothing is known to be wrong."""
        ...

    def tools(self) -> Sequence[Tool]:
        """Return what is known now, without waiting for anybody."""
        ...

    async def prepare(self, missing: str = "") -> None:
        """Learn the listing if it is not known, and again if it lacks the tool `missing`; bounded, never raises."""
        ...


def make_identifier(text: str, taken: Collection[str] = (), reserved: Collection[str] = RESERVED) -> str:
    """Return the Python name under which something with another name is reached; other than those `taken`."""
    name = _OUTSIDE.sub("_", text)[:MAX_PART].strip("_") or "tool"
    if name[0].isdigit():
        name = f"n{name}"
    if keyword.iskeyword(name) or name in reserved:
        name = f"{name}_"
    made, number = name, 1
    while made in taken:
        number += 1
        made = f"{name}_{number}"
    return made


def name_sources(names: Sequence[str], taken: Collection[str], problems: list[str]) -> list[str]:
    """Return a namespace for each name; one that is renamed since its name is taken is a line in `problems`."""
    given: list[str] = []
    for name in names:
        made = make_identifier(name, {*taken, *given})
        if make_identifier(name) != made:
            problems.append(f"{name}: the name is taken by another tool, so its tools are reached as tools.{made}")
        given.append(made)
    return given
