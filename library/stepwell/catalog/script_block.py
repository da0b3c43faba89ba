"""The `# /// script` block of a source (PEP 723): which packages and which Python it needs."""

import tomllib
from dataclasses import dataclass
from typing import Any, cast

from stepwell.errors import InvalidSource
from stepwell.model.requirements import is_bounds, read_requirement

MAX_DEPENDENCIES = 50
_BEGIN, _END = "# /// script", "# ///"
_FORM = '# /// script\n# dependencies = ["numpy>=2"]\n# ///'


@dataclass(frozen=True, slots=True)
class ScriptBlock:
    """What it declares. Its other tables, such as those that name an index, are not looked at."""

    dependencies: tuple[str, ...] = ()
    """As written; each is a name with bounds."""
    requires_python: str = ""


def read_script_block(source: str) -> ScriptBlock:
    """Return what the source's block declares.

    Raises:
        InvalidSource: there are two blocks, it does not end, or it holds something else than names and bounds.
    """
    lines = source.split("\n")
    starts = [n for n, line in enumerate(lines) if line.rstrip() == _BEGIN]
    if not starts:
        return ScriptBlock()
    first = starts[0]
    end = _find_end(lines, first)
    if end is None:
        raise _mistake("the `# /// script` block does not end with a line `# ///`", first)
    if any(start > end for start in starts):
        raise _mistake("there is a second `# /// script` block", next(start for start in starts if start > end))
    text = "\n".join(line[2:] for line in lines[first + 1 : end])
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _mistake(f"the `# /// script` block is no valid TOML: {str(error)[:200]}", first) from error
    return ScriptBlock(_dependencies(table, first), _requires_python(table, first))


def _find_end(lines: list[str], first: int) -> int | None:
    end = None
    for n in range(first + 1, len(lines)):
        line = lines[n].rstrip()
        if line == _END:
            end = n
        elif line != "#" and not line.startswith("# "):
            break
    return end


def _dependencies(table: dict[str, Any], first: int) -> tuple[str, ...]:
    listed: Any = table.get("dependencies", [])
    if not isinstance(listed, list) or not all(isinstance(item, str) for item in cast("list[Any]", listed)):
        raise _mistake("`dependencies` is no list of texts", first)
    given = cast("list[str]", listed)
    if len(given) > MAX_DEPENDENCIES:
        raise _mistake(f"`dependencies` has {len(given)} items, at most {MAX_DEPENDENCIES} are accepted", first)
    for item in given:
        try:
            read_requirement(item)
        except ValueError as error:
            raise _mistake(f"`dependencies`: {error}", first) from error
    return tuple(given)


def _requires_python(table: dict[str, Any], first: int) -> str:
    given: Any = table.get("requires-python", "")
    bounds = "".join(given.split()) if isinstance(given, str) else None
    if bounds is None or not is_bounds(bounds):
        raise _mistake('`requires-python` is no text like ">=3.11"', first)
    return bounds


def _mistake(problem: str, line: int) -> InvalidSource:
    return InvalidSource(f"{problem[0].upper()}{problem[1:]}.", hint=f"Write for example:\n{_FORM}", line=line + 1)
