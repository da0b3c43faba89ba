"""Type hints as JSON Schema (2020-12), by a closed grammar over their syntax tree.

Nothing is evaluated. What the grammar does not know is `{}`, which accepts anything, with a warning. Left out on
purpose, as the host would check them against values chosen by a stranger: `pattern` and `uniqueItems`, whose cost
is not bounded by the size of the value.
"""

import ast
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from stepwell.catalog.classes import Field, Kind, Known, Shape, read_class
from stepwell.catalog.literal import NotLiteral, read_literal, read_text
from stepwell.catalog.origins import Origins
from stepwell.model import Json, JsonObject, Warn

MAX_LEVELS = 24  # nested hints
MAX_CHOICES = 100  # members of a union, values of a Literal
_MAX_QUOTED = 1000  # characters of a hint in quotes
_MAX_INLINE = 120  # characters of an alias's schema; a longer one is a definition, so that aliases cannot multiply

# What the guest makes from JSON; the two must agree.
_SIMPLE: dict[str, JsonObject] = {
    "str": {"type": "string"},
    "LiteralString": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "None": {"type": "null"},
    "NoneType": {"type": "null"},
    "Any": {},
    "object": {},
    "bytes": {"type": "string", "format": "utf-8"},
    "datetime": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
    "time": {"type": "string", "format": "time"},
    "timedelta": {"type": "number", "description": "Seconds."},
    "Decimal": {"type": ["string", "number"], "format": "decimal"},
    "UUID": {"type": "string", "format": "uuid"},
    "Path": {"type": "string", "format": "path"},
    "PurePath": {"type": "string", "format": "path"},
    "EmailStr": {"type": "string", "format": "email"},
    "HttpUrl": {"type": "string", "format": "uri"},
    "AnyUrl": {"type": "string", "format": "uri"},
}
_MAPPINGS = frozenset({"dict", "Dict", "Mapping", "MutableMapping", "OrderedDict", "defaultdict", "DefaultDict"})
_ARRAYS = frozenset(
    {"list", "List", "Sequence", "MutableSequence", "Iterable", "Iterator", "Collection", "deque", "Deque"}
    | {"set", "Set", "frozenset", "FrozenSet", "AbstractSet", "MutableSet"}
)
_TUPLES = frozenset({"tuple", "Tuple"})
_WRAPPERS = frozenset({"Final", "Required", "NotRequired", "ReadOnly", "InitVar", "ClassVar"})
_CONSTRAINTS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "min_length": "minLength",
    "max_length": "maxLength",
}


@dataclass(slots=True)
class SchemaBuilder:
    """Turns hints of one module into schemas; `definitions` is what they refer to as `#/$defs/...`."""

    origins: Origins
    classes: Known
    aliases: dict[str, ast.expr]
    definitions: JsonObject = field(default_factory=dict[str, Json])
    warnings: list[Warn] = field(default_factory=list[Warn])
    _inlined: dict[str, JsonObject] = field(default_factory=dict[str, JsonObject])
    _referred: set[str] = field(default_factory=set[str])
    _open: int = 0

    def build(self, hint: ast.expr, subject: str, line: int | None = None) -> JsonObject:
        """Return the schema of `hint`; `subject` names in warnings what it is the hint of."""
        return _Reading(self, subject, line or hint.lineno).read(hint, 0)

    def named(self, name: str, reading: "_Reading") -> JsonObject | None:
        """Return the schema of a class or alias of the module, or None if there is none."""
        reference: JsonObject = {"$ref": f"#/$defs/{name}"}
        if name in self._inlined:
            return dict(self._inlined[name])
        if name in self.definitions:
            self._referred.add(name)
            return reference
        if name not in self.classes and name not in self.aliases:
            return None
        if self._open == MAX_LEVELS:
            return {}
        self._open += 1
        try:
            if name in self.classes:
                return self._class(name, reference)
            return self._alias(name, reference, reading)
        finally:
            self._open -= 1

    def finished(self) -> JsonObject:
        """Return the definitions, those emptied that refer to themselves without a value in between."""
        direct = {name: set(_direct_references(schema)) for name, schema in self.definitions.items()}
        for name, steps in direct.items():
            reached: set[str] = set()
            waiting = set(steps)
            while waiting:
                step = waiting.pop()
                reached.add(step)
                waiting |= direct.get(step, set()) - reached
            if name in reached:
                self.definitions[name] = {}
                steps.clear()
        return self.definitions

    def _class(self, name: str, reference: JsonObject) -> JsonObject:
        node = self.classes[name]
        shape = read_class(node, self.classes, self.origins)
        if shape is None:
            self._inlined[name] = {}
            self.warnings.append(
                Warn(
                    code="unknown_type",
                    message=f"`{name}` cannot be made from JSON: any value is accepted. Make it a dataclass, "
                    "TypedDict, Enum or pydantic model.",
                    line=node.lineno,
                )
            )
            return {}
        self.definitions[name] = {}  # stands in while the fields refer back to the class
        self.definitions[name] = self._shape(name, shape)
        return reference

    def _shape(self, name: str, shape: Shape) -> JsonObject:
        described: JsonObject = {"description": shape.description} if shape.description else {}
        if shape.kind is Kind.ENUM:
            return ({"enum": list(shape.members)} if shape.members is not None else {}) | described
        schema: JsonObject = {
            "type": "object",
            "properties": {item.name: self._field(name, item) for item in shape.fields},
            "required": [item.name for item in shape.fields if item.required],
        }
        if shape.kind is Kind.DATACLASS:
            schema["additionalProperties"] = False
        return schema | described

    def _field(self, owner: str, item: Field) -> JsonObject:
        schema = self.build(item.annotation, f"{owner}.{item.name}")
        schema = constrained(schema, item.constraints)
        return with_default(schema, item.default) if item.has_default else schema

    def _alias(self, name: str, reference: JsonObject, reading: "_Reading") -> JsonObject:
        self.definitions[name] = {}
        schema = _Reading(self, reading.subject, reading.line).read(self.aliases[name], 0)
        if name not in self._referred and len(json.dumps(schema)) <= _MAX_INLINE:
            del self.definitions[name]
            self._inlined[name] = schema
            return dict(schema)
        self.definitions[name] = schema
        return reference


@dataclass(frozen=True, slots=True)
class _Reading:
    # One hint being read. Recursion is bounded by MAX_LEVELS.
    builder: SchemaBuilder
    subject: str
    line: int

    def read(self, node: ast.expr, level: int) -> JsonObject:
        if level > MAX_LEVELS:
            return self._unknown("is nested too deeply")
        if isinstance(node, ast.Constant):
            return self._constant(node, level)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            return self._union(_flattened(node), level)
        if isinstance(node, ast.Subscript):
            return self._subscript(node, level)
        if isinstance(node, ast.Name | ast.Attribute):
            return self._name(node)
        return self._unknown("is no type hint")

    def _constant(self, node: ast.Constant, level: int) -> JsonObject:
        if node.value is None:
            return {"type": "null"}
        if not isinstance(node.value, str) or len(node.value) > _MAX_QUOTED:
            return self._unknown("is no type hint")
        quoted = parse_quoted(node.value)
        return self.read(quoted, level + 1) if quoted is not None else self._unknown("does not parse")

    def _name(self, node: ast.expr) -> JsonObject:
        name = self.builder.origins.last(node)
        if isinstance(node, ast.Name) and (schema := self.builder.named(node.id, self)) is not None:
            return schema
        if name in _SIMPLE:
            return dict(_SIMPLE[name])
        if name in _MAPPINGS:
            return {"type": "object"}
        if name in _ARRAYS or name in _TUPLES:
            return {"type": "array"}
        return self._unknown(f"`{name[:60]}` is unknown here")

    def _subscript(self, node: ast.Subscript, level: int) -> JsonObject:
        name = self.builder.origins.last(node.value)
        arguments = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        if not arguments:
            return self._tuple([], level) if name in _TUPLES else self._unknown("has an empty subscript")
        if name == "Optional":
            return self._union([arguments[0], ast.Constant(value=None)], level)
        if name == "Union":
            return self._union(arguments, level)
        if name == "Literal":
            return self._literal(arguments)
        if name == "Annotated":
            return self._annotated(arguments, level)
        if name in _WRAPPERS:
            return self.read(arguments[0], level + 1)
        if name in _MAPPINGS:
            return self._mapping(arguments, level)
        if name in _ARRAYS:
            return _array(self.read(arguments[0], level + 1))
        if name in _TUPLES:
            return self._tuple(arguments, level)
        return self._unknown(f"`{name[:60]}[...]` is unknown here")

    def _union(self, members: list[ast.expr], level: int) -> JsonObject:
        if len(members) > MAX_CHOICES:
            return self._unknown(f"has more than {MAX_CHOICES} choices")
        choices: list[JsonObject] = []
        for member in members:
            schema = self.read(member, level + 1)
            nested = schema["anyOf"] if set(schema) == {"anyOf"} else [schema]
            choices += [choice for choice in nested if choice not in choices]
        if {} in choices:
            return {}
        if len(choices) > MAX_CHOICES:
            return self._unknown(f"has more than {MAX_CHOICES} choices")
        return choices[0] if len(choices) == 1 else {"anyOf": choices}

    def _literal(self, arguments: list[ast.expr]) -> JsonObject:
        values: list[Json] = []
        for argument in arguments[: MAX_CHOICES + 1]:
            try:
                values.append(read_literal(argument))
            except NotLiteral:
                return self._unknown("has a Literal that is no constant")
        if len(values) > MAX_CHOICES:
            return self._unknown(f"has more than {MAX_CHOICES} choices")
        return {"enum": values}

    def _annotated(self, arguments: list[ast.expr], level: int) -> JsonObject:
        schema = self.read(arguments[0], level + 1)
        for extra in arguments[1:]:
            if text := read_text(extra):
                schema = schema | {"description": text[:500]}
            elif isinstance(extra, ast.Call) and self.builder.origins.last(extra.func) == "Doc" and extra.args:
                schema = schema | {"description": (read_text(extra.args[0]) or "")[:500]}
            elif isinstance(extra, ast.Call):
                schema = constrained(schema, tuple(extra.keywords))
        return schema

    def _mapping(self, arguments: list[ast.expr], level: int) -> JsonObject:
        if len(arguments) != 2:
            return {"type": "object"}
        value = self.read(arguments[1], level + 1)
        return {"type": "object"} | ({"additionalProperties": value} if value else {})

    def _tuple(self, arguments: list[ast.expr], level: int) -> JsonObject:
        if len(arguments) == 2 and isinstance(arguments[1], ast.Constant) and arguments[1].value is Ellipsis:
            return _array(self.read(arguments[0], level + 1))
        items = [self.read(argument, level + 1) for argument in arguments]
        if not items:
            return {"type": "array", "maxItems": 0}
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}

    def _unknown(self, why: str) -> JsonObject:
        self.builder.warnings.append(
            Warn(
                code="unknown_type",
                message=f"{self.subject}: the hint {why}, so any value is accepted. Use builtins, typing, or a "
                "dataclass, TypedDict, Enum or pydantic model of this module.",
                line=self.line,
            )
        )
        return {}


def builder_for(tree: ast.Module, origins: Origins) -> SchemaBuilder:
    """Return a builder that knows the classes and aliases of a module."""
    classes: Known = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    aliases: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            aliases[node.targets[0].id] = _alias_value(node.value, origins)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            if origins.last(node.annotation) == "TypeAlias":
                aliases[node.target.id] = node.value
        elif type(node).__name__ == "TypeAlias":  # `type X = ...`: in `ast` since Python 3.12
            statement = cast("Any", node)
            aliases[statement.name.id] = statement.value
    return SchemaBuilder(origins=origins, classes=classes, aliases=aliases)


def parse_quoted(text: str) -> ast.expr | None:
    """Return the expression of a hint in quotes, or None if it is none."""
    if len(text) > _MAX_QUOTED:
        return None
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def with_default(schema: JsonObject, default: Json) -> JsonObject:
    """Return the schema with its default; `None` is then accepted too, as in `headers: dict = None`."""
    if default is None and schema and not _accepts_null(schema):
        nested = schema["anyOf"] if set(schema) == {"anyOf"} else [schema]
        schema = {"anyOf": [*nested, {"type": "null"}]}
    return schema | {"default": default}


def constrained(schema: JsonObject, keywords: tuple[ast.keyword, ...]) -> JsonObject:
    """Return the schema with what a pydantic `Field(...)` says about its value."""
    added: JsonObject = {}
    for item in keywords:
        if item.arg == "description":
            added["description"] = (read_text(item.value) or "")[:500]
        elif item.arg in _CONSTRAINTS:
            try:
                limit = read_literal(item.value)
            except NotLiteral:
                continue
            key = _CONSTRAINTS[item.arg]
            if schema.get("type") == "array":
                key = {"minLength": "minItems", "maxLength": "maxItems"}.get(key, key)
            if isinstance(limit, int | float) and not isinstance(limit, bool):
                added[key] = limit
    return schema | added


def _accepts_null(schema: JsonObject) -> bool:
    choices = schema.get("anyOf", [schema])
    return any(choice.get("type") == "null" or None in choice.get("enum", []) for choice in choices)


def _direct_references(schema: JsonObject) -> Iterator[str]:
    # `A = Optional["A"]` would send a validator in circles: no value is taken apart on the way.
    for choice in [schema, *schema.get("anyOf", [])]:
        if "$ref" in choice:
            yield choice["$ref"].removeprefix("#/$defs/")


def _array(items: JsonObject) -> JsonObject:
    return {"type": "array"} | ({"items": items} if items else {})


def _flattened(node: ast.expr) -> list[ast.expr]:
    members: list[ast.expr] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        members.append(node.right)
        node = node.left
    return [node, *reversed(members)]


def _alias_value(value: ast.expr, origins: Origins) -> ast.expr:
    is_new_type = isinstance(value, ast.Call) and origins.last(value.func) == "NewType" and len(value.args) == 2
    return value.args[1] if is_new_type and isinstance(value, ast.Call) else value
