"""Google-style docstrings: the summary, and what `Args:` and `Returns:` say."""

import inspect
import re
from dataclasses import dataclass, field

from stepwell.catalog.literal import as_text

MAX_DESCRIPTION = 2000  # characters
_MAX_PARAMETER = 500  # characters of one parameter's description

_SECTION = re.compile(
    r"(Args|Arguments|Parameters|Params|Keyword Args|Keyword Arguments|Other Parameters|Returns?|Yields?|Raises"
    r"|Examples?|Notes?|Warnings?|Warns|Todo|See Also|References|Attributes):\s*"
)
_PARAMETERS = frozenset(
    {"Args", "Arguments", "Parameters", "Params", "Keyword Args", "Keyword Arguments", "Other Parameters"}
)
_ENTRY = re.compile(r"\*{0,2}(?P<name>\w+)\s*(?:\([^)\n]{0,200}\))?\s*:\s*(?P<text>.*)")


@dataclass(frozen=True, slots=True)
class Docstring:
    """What a docstring says, each text on one line."""

    summary: str = ""
    """The first paragraph."""
    text: str = ""
    """All of it, cleaned, for search."""
    parameters: dict[str, str] = field(default_factory=dict[str, str])
    returns: str = ""


def read_docstring(raw: str | None) -> Docstring:
    """Return the parts of a docstring; of a missing one, empty parts."""
    if not raw:
        return Docstring()
    text = as_text(inspect.cleandoc(raw))
    summary: list[str] = []
    sections: dict[str, list[str]] = {}
    current: list[str] | None = None
    paragraph_ended = False
    for line in text.split("\n"):
        if heading := _SECTION.fullmatch(line):
            current = sections.setdefault(heading[1], [])
        elif current is not None:
            current.append(line)
        elif line.strip() and not paragraph_ended:
            summary.append(line.strip())
        else:
            paragraph_ended = bool(summary)
    parameters: dict[str, str] = {}
    for heading, lines in sections.items():
        if heading in _PARAMETERS:
            parameters |= _entries(lines)
    returns = sections.get("Returns") or sections.get("Return") or []
    return Docstring(
        summary=_flow(summary, MAX_DESCRIPTION),
        text=text,
        parameters=parameters,
        returns=_flow(returns, _MAX_PARAMETER),
    )


def _entries(lines: list[str]) -> dict[str, str]:
    indents = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    outer = min(indents, default=0)
    collected: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in lines:
        if not line.strip():
            continue
        starts = len(line) - len(line.lstrip()) == outer
        if starts and (entry := _ENTRY.fullmatch(line.strip())):
            current = collected.setdefault(entry["name"], [])
            current.append(entry["text"])
        elif current is not None:
            current.append(line)
    return {name: _flow(texts, _MAX_PARAMETER) for name, texts in collected.items()}


def _flow(lines: list[str], limit: int) -> str:
    joined = " ".join(" ".join(lines).split())
    return joined if len(joined) <= limit else joined[: limit - 3].rstrip() + "..."
