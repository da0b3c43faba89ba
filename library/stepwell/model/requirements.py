"""What a workflow asks for by name: packages with bounds on their versions (the part of PEP 508 without places)."""

import re
from dataclasses import dataclass

MAX_REQUIREMENT = 300  # characters


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


def is_bounds(text: str) -> bool:
    """Say whether a text is a list of bounds, such as `>=2,<3`; the empty one is."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # noqa: PLC0415  its patterns: 10 ms of a start

    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        return False
    return True


def within(bounds: str, version: str) -> bool:
    """Say whether a version, also one before its release, keeps every bound of `>=2,<3.1,!=2.5`."""
    from packaging.specifiers import SpecifierSet  # noqa: PLC0415  as above

    return SpecifierSet(bounds).contains(version, prereleases=True)


def read_requirement(text: str) -> Requirement:
    """Return a requirement.

    Raises:
        ValueError: it is none, or names a place instead of a package; the message says what to write.
    """
    import packaging.requirements  # noqa: PLC0415  as above

    if len(text) > MAX_REQUIREMENT:
        raise ValueError(f"{text[:60]!a}... is longer than {MAX_REQUIREMENT} characters")
    if "@" in text.partition(";")[0] or "://" in text:
        raise ValueError(f'{text!a} names a place: only names are accepted, such as "numpy>=2"')
    try:
        read = packaging.requirements.Requirement(text)
    except (packaging.requirements.InvalidRequirement, RecursionError) as error:
        raise ValueError(f'{text!a} is no requirement: write a name with bounds, such as "numpy>=2,<3"') from error
    written = "".join(text.split())
    bounds = ",".join(sorted(map(str, read.specifier), key=written.find))  # as the author has ordered them
    extras = tuple(sorted(map(normal_name, read.extras)))
    return Requirement(normal_name(read.name), extras, bounds, str(read.marker) if read.marker else "")
