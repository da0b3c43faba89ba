"""Cleaning and parsing of a source nobody vouches for.

The source is compiled to find what only the compiler refuses (`return` outside a function), and never executed.
The limits keep CPython's parser away from what it does slowly: it is quadratic in the length of a dotted name and
of an f-string's line, and in the number of keywords of a call.
"""

import ast
import re
import threading
import warnings
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import dedent

from stepwell.catalog.literal import as_text
from stepwell.errors import InvalidSource
from stepwell.model import Warn

MAX_SOURCE_BYTES = 256 * 1024
MAX_LINE = 32 * 1024  # characters
MAX_DEPTH = 300  # levels of the syntax tree
MAX_DOTS = 200  # dots in one name
MAX_KEYWORDS = 1000  # in one call

_SIZE_HINT = "Keep data out of the source: pass it as an argument, or save it with artifacts.save and load it."
_NESTING = "The source is nested too deeply to be read"
_NESTING_HINT = "Split the expression into several statements, and long if/elif chains into a dict."

_FILE = "<workflow>"
_FENCES = ("```", "~~~")
_DOTTED = re.compile(rf"(?:\.[ \t\\\n]*+\w++[ \t\\\n]*+){{{MAX_DOTS}}}")
_FIRST_CODE = re.compile(r"^(?P<indent>[ \t]*)[^\s#]", re.MULTILINE)
_HIDDEN = re.compile("[\u202a-\u202e\u2066-\u2069\u200b\u2060\ufeff]")

# `warnings.catch_warnings` swaps process-wide state: two threads inside it would restore each other's filters.
_compile_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Parsed:
    """A clean source and its syntax tree, no deeper than `MAX_DEPTH`."""

    source: str
    tree: ast.Module
    warnings: tuple[Warn, ...]
    """What the compiler itself warns of, and characters a reader cannot see."""


def parse(source: str) -> Parsed:
    """Clean and parse `source`.

    Raises:
        InvalidSource: too large, not text, or no Python; with the line where there is one.
    """
    cleaned = clean(source)
    try:
        tree, noted = _compile(cleaned)
    except SyntaxError as error:
        raise _syntax_error(cleaned, error) from error
    except (RecursionError, MemoryError) as error:
        raise InvalidSource(_NESTING, hint=_NESTING_HINT) from error
    except (ValueError, OverflowError, SystemError) as error:
        raise InvalidSource(f"Python cannot read the source: {str(error)[:200]}", hint="Simplify it.") from error
    return Parsed(source=cleaned, tree=tree, warnings=(*noted, *_hidden_characters(cleaned)))


def clean(source: str) -> str:
    """Return `source` with LF line ends, without Markdown fences around it, dedented, ending in one newline.

    Raises:
        InvalidSource: it is too large, empty, or holds what no source file may hold.
    """
    _check_text(source)
    text = source.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if text.lstrip().startswith(_FENCES):
        text = _without_fences(text)
    first = _FIRST_CODE.search(text)
    if first is None:
        raise InvalidSource("The source is empty.", hint="Pass a Python module with a top-level `run` function.")
    if first["indent"]:  # only then: dedent() also trims blank lines inside strings
        text = dedent(text)
    text = text.strip("\n") + "\n"
    _check_shape(text)
    return text


def _without_fences(text: str) -> str:
    _, _, code = text.lstrip().partition("\n")
    body = code.rstrip()
    if body.rpartition("\n")[2].strip().startswith(_FENCES):
        return body.rpartition("\n")[0]
    return code


def _check_text(source: str) -> None:
    if len(source) > MAX_SOURCE_BYTES:
        raise InvalidSource(
            f"The source has {len(source):,} characters; at most {MAX_SOURCE_BYTES:,} bytes are accepted.",
            hint=_SIZE_HINT,
        )
    try:
        size = len(source.encode())
    except UnicodeEncodeError as error:
        line = source.count("\n", 0, error.start) + 1
        raise InvalidSource(
            f"Line {line} holds half of a surrogate pair, which is no text.",
            hint="Write the character itself, or its \\U escape.",
            line=line,
        ) from error
    if size > MAX_SOURCE_BYTES:
        raise InvalidSource(
            f"The source has {size:,} bytes; at most {MAX_SOURCE_BYTES:,} are accepted.", hint=_SIZE_HINT
        )
    if "\0" in source:
        line = source.count("\n", 0, source.index("\0")) + 1
        raise InvalidSource(f"Line {line} holds a NUL byte.", hint=r"Write it as the escape \0.", line=line)


def _check_shape(text: str) -> None:
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > MAX_LINE:
            raise InvalidSource(
                f"Line {number} has {len(line):,} characters; at most {MAX_LINE:,} are accepted.",
                hint=_SIZE_HINT,
                line=number,
            )
    if dotted := _DOTTED.search(text):
        line = text.count("\n", 0, dotted.start()) + 1
        raise InvalidSource(f"{_NESTING}: line {line} has a name with {MAX_DOTS} dots.", hint=_NESTING_HINT, line=line)


def _compile(text: str) -> tuple[ast.Module, list[Warn]]:
    with _compile_lock, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tree = ast.parse(text, _FILE)
        _check_tree(tree)
        compile(text, _FILE, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    # The parser and the compiler both warn of the same escape, and other threads of other things.
    noted = {(item.lineno, str(item.message)) for item in caught if item.filename == _FILE}
    return tree, [Warn(code="syntax_warning", message=message[:300], line=line) for line, message in sorted(noted)]


def _check_tree(tree: ast.Module) -> None:
    for node, depth in _levels(tree):
        if depth > MAX_DEPTH:
            line = getattr(node, "lineno", None)
            raise InvalidSource(f"{_NESTING}: more than {MAX_DEPTH} levels.", hint=_NESTING_HINT, line=line)
        if isinstance(node, ast.Call) and len(node.keywords) > MAX_KEYWORDS:
            raise InvalidSource(
                f"The call in line {node.lineno} has more than {MAX_KEYWORDS} keyword arguments.",
                hint="Pass a dict.",
                line=node.lineno,
            )


def _levels(tree: ast.AST) -> Iterator[tuple[ast.AST, int]]:
    # Breadth first with a queue: a recursive walk is what a deep tree would crash.
    waiting: deque[tuple[ast.AST, int]] = deque([(tree, 0)])
    while waiting:
        node, depth = waiting.popleft()
        yield node, depth
        waiting.extend((child, depth + 1) for child in ast.iter_child_nodes(node))


def _syntax_error(text: str, error: SyntaxError) -> InvalidSource:
    reason = str(error.msg)[:200]
    lines = text.split("\n")
    line = error.lineno if error.lineno and 0 < error.lineno <= len(lines) else None
    if line is None:
        return InvalidSource(f"The source is no valid Python: {reason}.", hint="Correct it and create it again.")
    shown = as_text(lines[line - 1]).strip()[:120]
    return InvalidSource(
        f"The source is no valid Python. Line {line}: {reason}: `{shown}`",
        hint=f"Correct line {line} and send the whole source again.",
        line=line,
    )


def _hidden_characters(text: str) -> Iterator[Warn]:
    for number, line in enumerate(text.split("\n"), start=1):
        if found := _HIDDEN.search(line):
            yield Warn(
                code="hidden_character",
                message=f"U+{ord(found[0]):04X} is invisible and can make code read differently than it runs: "
                "write it as an escape or remove it.",
                line=number,
            )
