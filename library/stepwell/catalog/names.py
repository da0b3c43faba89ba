"""Names of workflows."""

import difflib
import keyword
import re
from collections.abc import Iterable

from stepwell.errors import InvalidName

MAX_NAME = 48  # characters; with the prefix `wf_` still within what MCP clients accept as a tool's name

# Methods of the `workflows` handle: `workflows.<name>(...)` must mean the stored workflow.
RESERVED = frozenset(
    {"create", "delete", "exists", "find", "get", "invoke", "list", "pin", "search", "start", "versions"}
)

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
CANDIDATES = 2000  # names compared for a suggestion


def check_name(name: str) -> str:
    """Return `name` if a workflow may have it.

    Raises:
        InvalidName: with a name to use instead, where one can be derived.
    """
    problem = _problem(name)
    if problem is None:
        return name
    proposal = propose_name(name)
    hint = f"Use for example `{proposal}`." if proposal else "Use words and underscores, for example `fetch_json`."
    raise InvalidName(f"{_shown(name)} cannot be a workflow's name: {problem}.", hint=hint)


def is_name(name: str) -> bool:
    """Say whether a workflow may have this name."""
    return _problem(name) is None


def propose_name(text: str) -> str | None:
    """Return the nearest usable name, or None."""
    words = re.sub(r"[^A-Za-z0-9]+", "_", text[:200]).strip("_").lower()
    if words and words[0].isdigit():
        words = f"workflow_{words}"
    words = words[:MAX_NAME].rstrip("_")
    if _problem(words) is None:
        return words
    longer = f"{words}_workflow"
    return longer if words and _problem(longer) is None else None


def near_names(name: str, known: Iterable[str], *, limit: int = 3) -> list[str]:
    """Return the known names most like `name`, best first."""
    by_lower: dict[str, str] = {}
    for candidate in known:
        by_lower.setdefault(candidate.lower(), candidate)
        if len(by_lower) == CANDIDATES:
            break
    found = difflib.get_close_matches(name[: 2 * MAX_NAME].lower(), by_lower, n=limit, cutoff=0.6)
    return [by_lower[lower] for lower in found]


def _problem(name: str) -> str | None:
    if not name:
        return "it is empty"
    if len(name) > MAX_NAME:
        return f"it has {len(name)} characters, at most {MAX_NAME} are accepted"
    if name.startswith("_"):
        return "it starts with an underscore"
    if not _IDENTIFIER.fullmatch(name):
        return "only ASCII letters, digits and underscores are accepted, and a letter first"
    if keyword.iskeyword(name):
        return "it is a keyword of Python"
    if name in RESERVED:
        return f"`workflows.{name}` is a method"
    return None


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 60 else f"{name[:60]}...")
