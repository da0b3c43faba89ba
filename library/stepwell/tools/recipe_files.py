"""Reading `tools/*.yaml`; every mistake is named with its line."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from stepwell.tools.messages import clean
from stepwell.tools.mistakes import KeyPath, Lines, find_line, list_mistakes, suggest
from stepwell.tools.recipe_values import misfit
from stepwell.tools.recipes import CommandFile

MAX_FILE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """A recipe file that can be used."""

    path: Path
    content: CommandFile


class RecipeError(Exception):
    """A recipe file that cannot be used; the message names each mistake with file and line."""


def list_recipe_files(folder: Path) -> list[Path]:
    """Return the recipe files of a folder, by name; none where there is no folder. `_x.yaml` is skipped."""
    found = [*folder.glob("*.yaml"), *folder.glob("*.yml")] if folder.is_dir() else []
    return sorted(path for path in found if not path.name.startswith(("_", ".")))


def read_recipe_file(path: Path) -> LoadedFile:
    """Read one file.

    Raises:
        RecipeError: it cannot be read, is no YAML, or says what no recipe can say.
    """
    try:
        data = path.read_bytes()
        if len(data) > MAX_FILE_BYTES:
            raise RecipeError(f"{path}: longer than {MAX_FILE_BYTES} bytes")
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from error
    return LoadedFile(path, parse_recipes(text, str(path), path.stem))


def parse_recipes(text: str, source: str, name: str) -> CommandFile:
    """Return the tool that a file's text describes; `name` is the tool's where the text gives none.

    Raises:
        RecipeError: as `read_recipe_file`.
    """
    try:
        root, value = _read_yaml(text)
        positions = list(_positions(root, (), set()))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        raise RecipeError(f"{source}:{line} no valid YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(value, dict):
        raise RecipeError(f"{source}: line 1: must be a mapping with command and recipes")
    lines = dict(reversed(positions))
    mistakes = [(line, f"{'.'.join(path)} is given twice") for path, line in positions if lines[path] != line]
    try:
        parsed = CommandFile.model_validate({"tool": name, **value})
    except ValidationError as error:
        mistakes += list_mistakes(error, CommandFile, lines)
    else:
        mistakes += [*_misfit_defaults(parsed, lines), *_cross_mistakes(parsed, lines)]
        if not mistakes:
            return parsed
    raise RecipeError("\n".join(f"{source}: line {line}: {clean(text, 400)}" for line, text in sorted(mistakes)))


def _read_yaml(text: str) -> tuple[yaml.Node | None, Any]:
    try:
        # It takes a tenth of the time, and the shipped files are read at each start.
        return _read_with(getattr(yaml, "CSafeLoader", yaml.SafeLoader), text)
    except yaml.YAMLError:
        return _read_with(yaml.SafeLoader, text)  # names the line of a mistake where the other names the end


def _read_with(kind: Any, text: str) -> tuple[yaml.Node | None, Any]:
    loader = kind(text)
    try:
        root = loader.get_single_node()
        return root, loader.construct_document(root) if root is not None else None
    finally:
        loader.dispose()


def _positions(node: yaml.Node | None, path: KeyPath, seen: set[int]) -> Iterator[tuple[KeyPath, int]]:
    if isinstance(node, yaml.MappingNode | yaml.SequenceNode):
        if id(node) in seen:
            raise yaml.error.MarkedYAMLError(
                problem="anchors and aliases are not supported", problem_mark=node.start_mark
            )
        seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            yield inner, key.start_mark.line + 1
            yield from _positions(value, inner, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            inner = (*path, str(index))
            yield inner, value.start_mark.line + 1
            yield from _positions(value, inner, seen)


def _misfit_defaults(parsed: CommandFile, lines: Lines) -> Iterator[tuple[int, str]]:
    for name, argument in parsed.arguments.items():
        if argument.default is not None and (said := misfit(argument, argument.default)):
            yield find_line(lines, ["arguments", name, "default"]), f"the default of {name} must be {said}"


def _cross_mistakes(parsed: CommandFile, lines: Lines) -> Iterator[tuple[int, str]]:
    known = list(parsed.arguments)
    for name, recipe in parsed.recipes.items():
        where = ["recipes", name]
        for index, taken in enumerate(recipe.takes):
            if taken not in known:
                yield find_line(lines, [*where, "takes", str(index)]), f"no argument {taken!r}" + suggest(taken, known)
        for preset in recipe.presets:
            line = find_line(lines, [*where, "presets", preset])
            if preset not in known:
                yield line, f"no argument {preset!r}" + suggest(preset, known)
            elif preset in recipe.takes:
                yield line, f"{preset} is both preset and taken"
            elif said := misfit(parsed.arguments[preset], recipe.presets[preset]):
                yield line, f"the preset {preset} must be {said}"
        given = {*recipe.takes, *recipe.presets}
        for required in known:
            if parsed.arguments[required].required and required not in given:
                yield find_line(lines, where), f"the recipe {name} neither takes nor presets the required {required}"
