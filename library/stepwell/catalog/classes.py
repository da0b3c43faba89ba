"""Classes of a workflow's module that can be inputs: dataclasses, TypedDicts, enums, pydantic models."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from stepwell.catalog.docstring import read_docstring
from stepwell.catalog.literal import NotLiteral, read_literal, read_text
from stepwell.catalog.origins import Origins
from stepwell.model import Json

MAX_FIELDS = 500  # fields or members read of one class

_ENUMS = frozenset({"Enum", "IntEnum", "StrEnum", "Flag", "IntFlag"})
_MAX_BASES = 20


class Kind(Enum):
    """What JSON a class is made from."""

    DATACLASS = "dataclass"
    TYPED_DICT = "typed dict"
    ENUM = "enum"
    MODEL = "pydantic model"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a class."""

    name: str
    annotation: ast.expr
    required: bool
    default: Json = None
    has_default: bool = False
    constraints: tuple[ast.keyword, ...] = ()
    """Keywords of a pydantic `Field(...)`."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a class accepts."""

    kind: Kind
    description: str
    fields: tuple[Field, ...] = ()
    members: tuple[Json, ...] | None = ()
    """Values of an enum; None if one of them is no literal."""


Known: TypeAlias = dict[str, ast.ClassDef]


def read_class(node: ast.ClassDef, known: Known, origins: Origins) -> Shape | None:
    """Return the shape of a class, or None where it cannot be made from JSON."""
    lineage = list(_lineage(node, known))
    kind = next((kind for item in lineage if (kind := _own_kind(item, origins)) is not None), None)
    if kind is None:
        return None
    description = read_docstring(ast.get_docstring(node, clean=False)).summary
    if kind is Kind.ENUM:
        return Shape(kind=kind, description=description, members=_members(node, origins))
    fields: dict[str, Field] = {}
    for item in reversed(lineage):
        total = kind is not Kind.TYPED_DICT or not _is_partial(item)
        for field in _fields(item, kind, origins, total=total):
            fields[field.name] = field
            if len(fields) > MAX_FIELDS:
                return None
    return Shape(kind=kind, description=description, fields=tuple(fields.values()))


def _lineage(node: ast.ClassDef, known: Known) -> Iterator[ast.ClassDef]:
    waiting = [node]
    seen: set[str] = set()
    while waiting and len(seen) < _MAX_BASES:
        item = waiting.pop(0)
        if item.name in seen:
            continue
        seen.add(item.name)
        yield item
        waiting += [known[base.id] for base in item.bases if isinstance(base, ast.Name) and base.id in known]


def _own_kind(node: ast.ClassDef, origins: Origins) -> Kind | None:
    for item in node.decorator_list:
        if origins.last(item.func if isinstance(item, ast.Call) else item) == "dataclass":
            return Kind.DATACLASS
    for base in node.bases:
        name = origins.last(base)
        if name == "TypedDict":
            return Kind.TYPED_DICT
        if name in _ENUMS:
            return Kind.ENUM
        if name == "BaseModel":
            return Kind.MODEL
    return None


def _is_partial(node: ast.ClassDef) -> bool:
    return any(
        item.arg == "total" and isinstance(item.value, ast.Constant) and item.value.value is False
        for item in node.keywords
    )


def _fields(node: ast.ClassDef, kind: Kind, origins: Origins, *, total: bool) -> Iterator[Field]:
    for item in node.body:
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        outer = item.annotation.value if isinstance(item.annotation, ast.Subscript) else item.annotation
        wrapper = origins.last(outer)
        if wrapper in {"ClassVar", "KW_ONLY"} or item.target.id == "model_config":
            continue
        if kind is Kind.TYPED_DICT:
            required = (total and wrapper != "NotRequired") or wrapper == "Required"
            yield Field(name=item.target.id, annotation=item.annotation, required=required)
        elif (field := _valued(item.target.id, item, origins)) is not None:
            yield field


def _valued(name: str, item: ast.AnnAssign, origins: Origins) -> Field | None:
    value = item.value
    if value is None:
        return Field(name=name, annotation=item.annotation, required=True)
    if not isinstance(value, ast.Call) or origins.last(value.func) not in {"field", "Field"}:
        return _with_default(name, item.annotation, value, ())
    keywords = {keyword.arg: keyword.value for keyword in value.keywords}
    init = keywords.get("init")
    if isinstance(init, ast.Constant) and init.value is False:
        return None
    name = read_text(keywords.get("alias")) or name
    default = keywords.get("default", value.args[0] if value.args else None)
    rest = tuple(value.keywords)
    if default is not None and not (isinstance(default, ast.Constant) and default.value is Ellipsis):
        return _with_default(name, item.annotation, default, rest)
    return Field(name=name, annotation=item.annotation, required="default_factory" not in keywords, constraints=rest)


def _with_default(name: str, annotation: ast.expr, node: ast.expr, constraints: tuple[ast.keyword, ...]) -> Field:
    try:
        default, known = read_literal(node), True
    except NotLiteral:
        default, known = None, False
    return Field(
        name=name, annotation=annotation, required=False, default=default, has_default=known, constraints=constraints
    )


def _members(node: ast.ClassDef, origins: Origins) -> tuple[Json, ...] | None:
    textual = any(origins.last(base) in {"StrEnum", "str"} for base in node.bases)
    values: list[Json] = []
    for item in node.body:
        if not isinstance(item, ast.Assign) or not isinstance(item.targets[0], ast.Name):
            continue
        name = item.targets[0].id
        if name.startswith("_"):
            continue
        if isinstance(item.value, ast.Call) and origins.last(item.value.func) == "auto":
            values.append(name.lower() if textual else _next_number(values))
            continue
        try:
            values.append(read_literal(item.value))
        except NotLiteral:
            return None
    return tuple(values) if 0 < len(values) <= MAX_FIELDS else None


def _next_number(values: list[Json]) -> int:
    return max((value for value in values if isinstance(value, int)), default=0) + 1
