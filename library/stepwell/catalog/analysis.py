"""Everything that is known of a workflow from its source alone."""

import ast
import hashlib
from collections.abc import Iterable
from dataclasses import replace

from stepwell.catalog.awaiting import check_awaited
from stepwell.catalog.declared import with_declared
from stepwell.catalog.docstring import Docstring, read_docstring
from stepwell.catalog.entry import Entry, find_entry
from stepwell.catalog.imports import check_imports
from stepwell.catalog.manifest import read_manifest, read_options
from stepwell.catalog.nodes import warn_of_names
from stepwell.catalog.origins import Origins
from stepwell.catalog.parameters import Inputs, hint_text, read_inputs
from stepwell.catalog.quality import check_quality
from stepwell.catalog.schema import builder_for
from stepwell.catalog.source import Parsed, parse
from stepwell.errors import InvalidSource
from stepwell.model import JsonObject, Parameter, Version, Warn

MAX_WARNINGS = 50


def analyse(source: str, *, name: str, entry: str | None = None, script: bool = False) -> Version:
    """Read a workflow's source without executing any of it.

    `entry` names the entry where `run` is not it; with `script`, a module without an entry is accepted as one.

    Raises:
        InvalidSource: it is no Python, crosses a limit, or has no entry.
    """
    try:
        return _analyse(parse(source), name, entry, script=script)
    except (RecursionError, MemoryError) as error:
        raise InvalidSource(
            "The source is nested too deeply to be read.", hint="Split its expressions and types into smaller ones."
        ) from error


def version_hash(source: str, entry: str) -> str:
    """Return the identity of a version: the same clean source and entry have the same hash."""
    return hashlib.sha256(source.encode() + b"\0" + entry.encode()).hexdigest()


def _analyse(parsed: Parsed, name: str, wanted: str | None, *, script: bool) -> Version:
    tree = parsed.tree
    origins = Origins(tree)
    entry = find_entry(tree, origins, wanted, script=script)
    module_docs = read_docstring(ast.get_docstring(tree, clean=False))
    entry_docs = read_docstring(ast.get_docstring(entry.function, clean=False) if entry.function else None)
    builder = builder_for(tree, origins)
    inputs, hint_warnings = Inputs(rest="inputs"), list[Warn]()
    if entry.function is not None:
        docs = entry_docs if entry_docs.parameters else module_docs
        inputs, hint_warnings = read_inputs(entry.function, docs, builder, origins)
        if entry.steps:
            inputs = replace(inputs, returns=hint_text(entry.steps[-1].function.returns))
    elif entry.nodes is not None:
        inputs = _AGENT_INPUTS if entry.is_agent else _NODE_INPUTS
    elif entry.kind == "workflow_object":
        inputs = _PIPELINE_INPUTS
    manifest = read_manifest(parsed, origins)
    options, option_warnings = read_options(tree)
    options = with_declared(options, entry, tree, origins)
    warnings = [*parsed.warnings, *hint_warnings, *builder.warnings, *option_warnings]
    warnings += warn_of_names(entry.nodes, tree, origins)
    warnings += check_imports(origins, manifest.get("dependencies", []))
    warnings += check_awaited(tree, origins, script=entry.kind == "script")
    warnings += check_quality(tree, entry, inputs, origins)
    return Version(
        hash=version_hash(parsed.source, entry.name),
        source=parsed.source,
        entry=entry.name,
        entry_kind=entry.kind,
        is_async=_is_async(entry),
        parameters=inputs.parameters,
        schema=inputs.schema(builder.finished()),
        signature=name + inputs.signature(),
        returns=inputs.returns,
        returns_description=entry_docs.returns or module_docs.returns,
        context_parameters=inputs.context,
        description=_description(module_docs, entry_docs) or entry.description,
        manifest=manifest,
        options=options,
        warnings=_ordered(warnings),
    )


# What a pipeline takes whose steps cannot be read: the first step's input.
_PIPELINE_INPUTS = Inputs(
    parameters=(
        Parameter(
            name="input",
            schema={"description": "What the first step is given."},
            required=False,
            description="What the first step is given.",
        ),
    ),
    rest="inputs",
)


def _input(name: str, kind: JsonObject, description: str) -> Parameter:
    return Parameter(name, kind | {"description": description}, required=False, description=description)


# What a workflow of nodes takes.
_NODE_INPUTS = Inputs(
    parameters=(
        _input("input", {}, "What the steps work on: a text, or any other value."),
        _input("session_state", {"type": "object"}, "Values that the steps share; goes over those in the source."),
        _input("additional_data", {"type": "object"}, "Further values for the steps."),
    )
)


# What agents made of agents are asked.
_AGENT_INPUTS = Inputs(
    parameters=(
        Parameter("input", {"description": "What they are asked: a text, or any other value."}, required=True),
    ),
    returns="str",
)


def _is_async(entry: Entry) -> bool:
    # A pipeline's steps and a script's top level may await.
    return entry.kind != "function" or isinstance(entry.function, ast.AsyncFunctionDef)


def _description(module: Docstring, function: Docstring) -> str:
    return module.summary or function.summary


def _ordered(warnings: Iterable[Warn]) -> tuple[Warn, ...]:
    distinct = dict.fromkeys(warnings)
    return tuple(sorted(distinct, key=lambda item: (item.line or 0, item.code))[:MAX_WARNINGS])
