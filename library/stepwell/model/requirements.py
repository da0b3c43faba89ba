"""What a workflow asks for by name: packages with bounds on their versions (a safe part of PEP 508)."""

import re
from dataclasses import dataclass

from stepwell.model.pep440 import is_bounds

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
MAX_REQUIREMENT = 300  # characters
# Words, comparisons and quoted texts; nothing that an installer could take for an option.
_MARKER = re.compile(r"(?:\s*(?:[()]|'[^'\\\n]*'|\"[^\"\\\n]*\"|[a-z_.]+|[<>=!~]=?=?))+\s*")
_REQUIREMENT = re.compile(
    rf"\s*(?P<name>{NAME.pattern})\s*(?:\[(?P<extras>[^\]]*)\])?\s*(?P<bounds>\([^()]*\)|[^;()\[\]]*?)\s*"
    r"(?:;(?P<marker>.*))?"
)


@dataclass(frozen=True, slots=True)
class Requirement:
    """One package by name."""

    name: str
    """Normalised as by PEP 503: lower case, one hyphen where the author wrote hyphens, dots or underscores."""
    extras: tuple[str, ...] = ()
    bounds: str = ""
    """`>=2,<3`, without spaces."""
    marker: str = ""

    def __str__(self) -> str:
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        return f"{self.name}{extras}{self.bounds}" + (f"; {self.marker}" if self.marker else "")


def normal_name(name: str) -> str:
    """Return the form in which names of packages are compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_requirement(text: str) -> Requirement:
    """Return a requirement.

    Raises:
        ValueError: it is none, or names a place instead of a package; the message says what to write.
    """
    if len(text) > MAX_REQUIREMENT:
        raise ValueError(f"{text[:60]!a}... is longer than {MAX_REQUIREMENT} characters")
    if "@" in text.partition(";")[0] or "://" in text:
        raise ValueError(f'{text!a} names a place: only names are accepted, such as "numpy>=2"')
    found = _REQUIREMENT.fullmatch(text)
    if found is None:
        raise ValueError(f'{text!a} is no requirement: write a name with bounds, such as "numpy>=2,<3"')
    bounds = re.sub(r"\s+", "", found["bounds"].strip("()"))
    extras = [extra.strip() for extra in found["extras"].split(",")] if found["extras"] else []
    if not is_bounds(bounds) or not all(NAME.fullmatch(extra) for extra in extras):
        raise ValueError(f'{text!a} is no requirement: write a name with bounds, such as "numpy>=2,<3"')
    marker = (found["marker"] or "").strip()
    if found["marker"] is not None and not _MARKER.fullmatch(marker):
        raise ValueError(f"the condition behind the semicolon in {text!a} cannot be read")
    return Requirement(normal_name(found["name"]), tuple(sorted(map(normal_name, extras))), bounds, marker)
