"""Values larger than one result, in parts: each part says how the next is fetched."""

from dataclasses import dataclass
from typing import Any, cast

from stepwell.errors import InvalidArguments
from stepwell.model import Json, JsonObject
from stepwell_server.surface.replies import plain, shorten, size


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a value."""

    value: Json
    total: int
    """Items, members or characters of the whole."""
    next_offset: int | None
    """None where this is the end."""
    hidden: tuple[str, ...] = ()
    """JSON pointers of items that are too large to be shown here."""


def find(value: Json, pointer: str | None) -> Json:
    """Return the part of the value at a JSON pointer (RFC 6901); the whole for none.

    Raises:
        InvalidArguments: there is nothing; says up to where there is.
    """
    if not pointer:
        return value
    if not pointer.startswith("/"):
        raise InvalidArguments(
            f"`path` must be a JSON pointer, not {shorten(pointer, 60)!r}.", hint='Write it as in "/items/0/name".'
        )
    walked = ""
    for part in pointer[1:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and name in value:
            value = cast("JsonObject", value)[name]
        elif (
            isinstance(value, list)
            and name.isdecimal()
            and len(name) < 12
            and int(name) < len(cast("list[Any]", value))
        ):
            value = cast("list[Any]", value)[int(name)]
        else:
            raise InvalidArguments(
                f"There is nothing at {shorten(walked + '/' + part, 100)!r}.",
                hint=f'At "{shorten(walked, 100)}" there is {_kind(cast("Any", value))}.',
            )
        walked += f"/{part}"
    return value


def page(value: Json, pointer: str, offset: int, budget: int) -> Page:
    """Return as much of the value from `offset` on as fits `budget` bytes of JSON, at least one item."""
    if isinstance(value, str):
        return _text_page(value, offset, budget)
    if isinstance(value, list):
        items = list(enumerate(cast("list[Any]", value)))
        taken, next_offset, hidden = _take([(str(n), item) for n, item in items], pointer, offset, budget)
        return Page([item for _, item in taken], len(items), next_offset, hidden)
    if isinstance(value, dict):
        members = list(cast("JsonObject", value).items())
        taken, next_offset, hidden = _take(members, pointer, offset, budget)
        return Page(dict(taken), len(members), next_offset, hidden)
    return Page(value, 1, None)


def _text_page(text: str, offset: int, budget: int) -> Page:
    part = text[offset : offset + budget]
    while part and size(part) > budget:  # characters of several bytes, or escaped ones
        part = part[: max(1, len(part) * 3 // 4)] if len(part) > 1 else ""
    end = offset + len(part)
    return Page(part, len(text), end if end < len(text) and part else None)


def _take(
    items: list[tuple[str, Json]], pointer: str, offset: int, budget: int
) -> tuple[list[tuple[str, Json]], int | None, tuple[str, ...]]:
    taken: list[tuple[str, Json]] = []
    hidden: list[str] = []
    left = budget
    for position in range(offset, len(items)):
        name, item = items[position]
        cost = size(item) + len(name) + 8
        if cost > budget // 2 and cost > left:
            path = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
            item = {"cut": _kind(item), "path": shorten(path, 500)}
            hidden.append(path)
            cost = size(item) + len(name) + 8
        if cost > left and taken:
            return taken, position, tuple(hidden)
        taken.append((name, item))
        left -= cost
    return taken, None, tuple(hidden)


def _kind(value: Json) -> str:
    if isinstance(value, str):
        return f"text of {len(value):,} characters"
    if isinstance(value, list):
        return f"an array of {len(cast('list[Any]', value)):,} items"
    if isinstance(value, dict):
        keys = [shorten(str(key), 40) for key in list(cast("JsonObject", value))[:8]]
        return f"an object of {len(cast('JsonObject', value)):,} members: {', '.join(keys)}"
    return f"{plain(value)}"
