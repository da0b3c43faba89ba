"""The parameters of an entry: which are the caller's, and what they accept."""

import ast
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from stepwell.catalog.docstring import Docstring
from stepwell.catalog.entry import FunctionNode
from stepwell.catalog.literal import NotLiteral, read_literal
from stepwell.catalog.origins import Origins
from stepwell.catalog.schema import SchemaBuilder, parse_quoted, with_default
from stepwell.errors import InvalidSource
from stepwell.model import JsonObject, Parameter, Warn

CONTEXT_NAMES = frozenset({"ctx", "wf"})
CONTEXT_TYPES = frozenset({"WorkflowContext", "Workflow"})

_MAX_HINT = 120  # characters of one hint in a signature
_MAX_DEFAULT = 40  # characters of one default in a signature


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the caller of a workflow may pass."""

    parameters: tuple[Parameter, ...] = ()
    context: tuple[str, ...] = ()
    """Parameters that the engine fills."""
    rest: str = ""
    """The name of `**kwargs`, if any."""
    rest_annotation: str = ""
    returns: str = ""

    def schema(self, definitions: JsonObject) -> JsonObject:
        """Return the JSON Schema of the arguments object."""
        schema: JsonObject = {
            "type": "object",
            "properties": {item.name: item.schema for item in self.parameters},
            "required": [item.name for item in self.parameters if item.required],
            "additionalProperties": bool(self.rest),
        }
        return schema | ({"$defs": definitions} if definitions else {})

    def signature(self) -> str:
        """Return `(url: str, depth: int = 2) -> dict`; a default that is no literal is shown as `...`."""
        shown = [_shown(item) for item in self.parameters]
        if self.rest:
            shown.append(f"**{self.rest}" + (f": {self.rest_annotation}" if self.rest_annotation else ""))
        return f"({', '.join(shown)})" + (f" -> {self.returns}" if self.returns else "")


def read_inputs(
    function: FunctionNode, docs: Docstring, builder: SchemaBuilder, origins: Origins
) -> tuple[Inputs, list[Warn]]:
    """Return what `function` takes, and its hints that are missing.

    Raises:
        InvalidSource: it has `*args` or positional-only parameters; arguments have names.
    """
    _refuse_positional(function)
    given = function.args
    defaults: list[ast.expr | None] = [None] * (len(given.args) - len(given.defaults))
    pairs = list(zip(given.args, [*defaults, *given.defaults], strict=True))
    pairs += list(zip(given.kwonlyargs, given.kw_defaults, strict=True))
    parameters: list[Parameter] = []
    context: list[str] = []
    warnings: list[Warn] = []
    for argument, default in pairs:
        if is_context(argument, origins):
            context.append(argument.arg)
            continue
        parameters.append(_parameter(argument, default, docs, builder))
        if argument.annotation is None:
            warnings.append(_missing_hint(argument))
    if function.returns is None:
        warnings.append(_missing_return(function))
    rest = given.kwarg
    inputs = Inputs(
        parameters=tuple(parameters),
        context=tuple(context),
        rest=rest.arg if rest else "",
        rest_annotation=hint_text(rest.annotation) if rest else "",
        returns=hint_text(function.returns),
    )
    return inputs, warnings


def is_context(argument: ast.arg, origins: Origins) -> bool:
    """Say whether the engine fills this parameter: by its name, or by its hint in any spelling."""
    if argument.arg in CONTEXT_NAMES:
        return True
    waiting: list[ast.expr] = [argument.annotation] if argument.annotation else []
    for _ in range(20):
        if not waiting:
            return False
        hint = waiting.pop()
        if isinstance(hint, ast.Constant) and isinstance(hint.value, str):
            quoted = parse_quoted(hint.value)
            waiting += [quoted] if quoted is not None else []
        elif isinstance(hint, ast.BinOp):
            waiting += [hint.left, hint.right]
        elif isinstance(hint, ast.Subscript) and origins.last(hint.value) in {"Optional", "Union", "Annotated"}:
            waiting += hint.slice.elts if isinstance(hint.slice, ast.Tuple) else [hint.slice]
        elif origins.last(hint) in CONTEXT_TYPES:
            return True
    return False


def hint_text(node: ast.expr | None) -> str:
    """Return the text of a hint, shortened, on one line, without quotes around it."""
    if node is None:
        return ""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        quoted = parse_quoted(node.value)
        node = quoted if quoted is not None else node
    try:
        text = ast.unparse(node)
    except RecursionError:
        return "..."
    return text if len(text) <= _MAX_HINT else text[: _MAX_HINT - 3] + "..."


def _parameter(argument: ast.arg, default: ast.expr | None, docs: Docstring, builder: SchemaBuilder) -> Parameter:
    schema: JsonObject = {}
    if argument.annotation is not None:
        schema = builder.build(argument.annotation, argument.arg)
    description = docs.parameters.get(argument.arg, "") or str(schema.get("description", ""))
    value, is_known = None, False
    if default is not None:
        with suppress(NotLiteral):
            value, is_known = read_literal(default), True
    if is_known:
        schema = with_default(schema, value)
    return Parameter(
        name=argument.arg,
        schema=schema | ({"description": description} if description else {}),
        required=default is None,
        default=value,
        has_default=is_known,
        annotation=hint_text(argument.annotation),
        description=description,
    )


def _shown(item: Parameter) -> str:
    shown = item.name + (f": {item.annotation}" if item.annotation else "")
    if item.required:
        return shown
    text = repr(cast("object", item.default)) if item.has_default else "..."
    text = text if len(text) <= _MAX_DEFAULT else "..."
    return f"{shown} = {text}" if item.annotation else f"{shown}={text}"


def _refuse_positional(function: FunctionNode) -> None:
    given = function.args
    if given.vararg is not None:
        raise InvalidSource(
            f"`{function.name}` takes *{given.vararg.arg}, but the arguments of a workflow have names.",
            hint=f"Take a list instead, for example `{given.vararg.arg}: list[str]`.",
            line=given.vararg.lineno,
        )
    if given.posonlyargs:
        names = ", ".join(item.arg for item in given.posonlyargs[:10])
        raise InvalidSource(
            f"`{function.name}` has positional-only parameters ({names}), but the arguments of a workflow have names.",
            hint="Remove the `/` from its parameters.",
            line=function.lineno,
        )


def _missing_hint(argument: ast.arg) -> Warn:
    return Warn(
        code="missing_type_hint",
        message=f"`{argument.arg}` has no type hint, so any value is accepted: write for example "
        f"`{argument.arg}: str`.",
        line=argument.lineno,
    )


def _missing_return(function: FunctionNode) -> Warn:
    return Warn(
        code="missing_type_hint",
        message=f"`{function.name}` does not say what it returns: write for example `-> dict`.",
        line=function.lineno,
    )
