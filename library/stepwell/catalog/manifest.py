"""What a source uses, as far as can be read without running it."""

import ast
from collections.abc import Iterable
from typing import cast

from stepwell.catalog.agent_tools import agent_tools, agent_workflows
from stepwell.catalog.limits import LIMIT_OPTIONS, check_budget, check_limits
from stepwell.catalog.literal import NotLiteral, read_literal, read_text
from stepwell.catalog.names import RESERVED, is_name
from stepwell.catalog.nodes import shown
from stepwell.catalog.origins import Origins
from stepwell.catalog.script_block import read_script_block
from stepwell.catalog.source import Parsed
from stepwell.errors import InvalidSource
from stepwell.model import Json, JsonObject, Warn
from stepwell.model.durability import read_durability
from stepwell.model.retries import RETRY_OPTIONS, read_retries
from stepwell.model.secret_names import list_secret_names

MAX_LISTED = 200  # of each kind but tools, which a run may not call beyond those that are listed
MAX_TOOLS = 5000
_KEPT = frozenset({*RETRY_OPTIONS, *LIMIT_OPTIONS, "durability", "durable", "budget_usd"})
"""Options that must not be ignored: without them a run would do or cost more than its author said."""
_MAX_TEXT = 200  # characters of a tool's or step's name

_METHODS = frozenset({"call", "list", "search"})


def read_manifest(parsed: Parsed, origins: Origins) -> JsonObject:
    """Return `{"tools", "workflows", "steps"}` in the order of the source.

    With `secrets`, `dependencies` and `requires_python` where the source declares them.

    Raises:
        InvalidSource: its `# /// script` block cannot be read.
    """
    nodes = sorted(
        (node for node in origins.nodes if isinstance(node, ast.Attribute | ast.Call)),
        key=lambda node: (node.lineno, node.col_offset),
    )
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    manifest: JsonObject = {
        "tools": _distinct([*_tools(nodes, origins), *agent_tools(calls, origins)], MAX_TOOLS),
        "workflows": _distinct([*(_workflow(call, origins) for call in calls), *agent_workflows(calls, origins)]),
        "steps": _distinct(_step(call, origins) for call in calls),
    }
    if secrets := list_secret_names(parsed.source):
        manifest["secrets"] = list(secrets[:MAX_LISTED])
    block = read_script_block(parsed.source)
    if block.dependencies:
        manifest["dependencies"] = list(block.dependencies)
    if block.requires_python:
        manifest["requires_python"] = block.requires_python
    return manifest


def read_options(tree: ast.Module) -> tuple[JsonObject, list[Warn]]:
    """Return the module's literal `options = dict(...)` or `{...}`, with a warning for what cannot be read.

    Raises:
        InvalidSource: one of those that bound or keep a run is no such value, or cannot be read.
    """
    options: JsonObject = {}
    warnings: list[Warn] = []
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if not any(isinstance(target, ast.Name) and target.id == "options" for target in targets):
            continue
        value = cast("ast.Assign | ast.AnnAssign", node).value
        options = {}
        for key, item in _items(value):
            try:
                if key is None:
                    raise NotLiteral
                options[key] = read_literal(item)
                _check_option(options, key, item.lineno)
            except NotLiteral as error:
                if key in _KEPT:
                    raise _unread(key, item) from error
                warnings.append(
                    Warn(
                        code="options_not_literal",
                        message=f"options: {key or 'an item'!r} is no literal and is ignored, as nothing is executed "
                        "to read it.",
                        line=item.lineno,
                    )
                )
    return options, warnings


def _check_option(options: JsonObject, key: str, line: int) -> None:
    if key in RETRY_OPTIONS:
        _check_retries({key: options[key]}, line)
    elif key == "durability":
        _check_durability(options[key], line)
    elif key == "budget_usd":
        check_budget(options[key], line)
    elif key in LIMIT_OPTIONS:
        check_limits(options, line)


def _unread(key: str, item: ast.expr) -> InvalidSource:
    return InvalidSource(
        f"options: {key}={shown(item)} is no literal that JSON has, and nothing is executed to read it.",
        hint="Write the value itself: a finite number, a text, True or False; a product such as 24 * 3600 will do.",
        line=item.lineno,
    )


def _check_durability(given: Json, line: int) -> None:
    try:
        read_durability(given)
    except ValueError as error:
        raise InvalidSource(
            f"options: {error}.",
            hint='durability="step" makes each step wait until its result is on disk; "group" is the default.',
            line=line,
        ) from error


def _check_retries(options: JsonObject, line: int) -> None:
    try:
        read_retries(options)
    except (TypeError, ValueError) as error:
        raise InvalidSource(
            f"options: {error}.",
            hint="Write for example options = dict(retries=3, retry_delay=1.0, backoff='exponential', max_delay=60).",
            line=line,
        ) from error


def _items(value: ast.expr | None) -> Iterable[tuple[str | None, ast.expr]]:
    if isinstance(value, ast.Dict):
        return [(read_text(key), item) for key, item in zip(value.keys, value.values, strict=True)]
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "dict":
        positional: list[tuple[str | None, ast.expr]] = [(None, item) for item in value.args]
        return positional + [(item.arg, item.value) for item in value.keywords]
    return [(None, value)] if value is not None else []


def _tools(nodes: list[ast.Attribute | ast.Call], origins: Origins) -> Iterable[str]:
    inner = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    for node in nodes:
        if isinstance(node, ast.Attribute) and id(node) not in inner:
            root, _, name = origins.of(node).partition(".")
            if root == "tools" and name not in _METHODS and not name.endswith((".list", ".search")):
                yield name
        elif isinstance(node, ast.Call) and node.args and origins.of(node.func) == "tools.call":
            yield (read_text(node.args[0]) or "")[:_MAX_TEXT]


def _workflow(call: ast.Call, origins: Origins) -> str | None:
    root, _, name = origins.of(call.func).partition(".")
    if root in {"workflows", "ctx", "wf"} and name in {"invoke", "start"}:
        given = read_text(call.args[0]) if call.args else None
        return given if given is not None and is_name(given) else None
    if root == "workflows" and name not in RESERVED and is_name(name):
        return name
    return None


def _step(call: ast.Call, origins: Origins) -> str | None:
    is_method = isinstance(call.func, ast.Attribute) and call.func.attr == "step"
    if not is_method and origins.last(call.func) != "Step":
        return None
    named: ast.expr | None = next((item.value for item in call.keywords if item.arg == "name"), None)
    text = read_text(call.args[0] if call.args else named)
    return text[:_MAX_TEXT] if text else None


def _distinct(names: Iterable[str | None], limit: int = MAX_LISTED) -> list[str]:
    return list(dict.fromkeys(name for name in names if name))[:limit]
