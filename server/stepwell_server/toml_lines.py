"""On which line each key of a TOML text stands; `tomllib` does not tell."""

import re
import tomllib
from contextlib import suppress
from dataclasses import dataclass, field

from stepwell.tools.mistakes import KeyPath

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_INLINE_SPACE = re.compile(r"[ \t]*")
_SCALAR = re.compile(r"[^,\]\}\r\n#]*")
# In this order: the triple quotes first. Escapes matter only for where a string ends.
_STRINGS = (
    re.compile(r'"""(?:\\.|[^\\])*?"{3,5}', re.DOTALL),
    re.compile(r"'''.*?'{3,5}", re.DOTALL),
    re.compile(r'"(?:\\.|[^"\\])*"'),
    re.compile(r"'[^']*'"),
)


def find_lines(text: str) -> dict[KeyPath, int]:
    """Return the 1-based line of every key and list element of a text that `tomllib` has accepted.

    Elements of a list are named by their index, as text; a key that is named more than once keeps its first line.
    """
    scanner = _Scanner(text)
    # Lines are for messages only: a text that this reads worse than tomllib must not be refused for it.
    with suppress(ValueError, IndexError):
        scanner.scan()
    return scanner.lines


@dataclass(slots=True)
class _Scanner:
    text: str
    at: int = 0
    lines: dict[KeyPath, int] = field(default_factory=dict[KeyPath, int])
    tables: dict[KeyPath, int] = field(default_factory=dict[KeyPath, int])
    """How many elements each array of tables has so far."""

    def scan(self) -> None:
        table: KeyPath = ()
        while self._skip(_SPACE) < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> KeyPath:
        array = self.text.startswith("[[", self.at)
        self.at += 2 if array else 1
        start = self.at
        *parents, last = self._key(())
        self.at = self.text.index("]", self.at) + (2 if array else 1)
        path = (*self._within(parents), last)
        if array:
            self.tables[path] = self.tables.get(path, 0) + 1
        path = self._within([*parents, last])
        self.lines.setdefault(path, self._line(start))
        return path

    def _within(self, parts: list[str]) -> KeyPath:
        # `[t.x]` after `[[t]]` is about the newest element of t.
        path: KeyPath = ()
        for part in parts:
            path = (*path, part)
            if count := self.tables.get(path):
                path = (*path, str(count - 1))
        return path

    def _pair(self, table: KeyPath) -> None:
        path = self._key(table)
        self.at = self.text.index("=", self.at) + 1
        self._skip(_INLINE_SPACE)
        self._value(path)

    def _key(self, path: KeyPath) -> KeyPath:
        while True:
            self._skip(_INLINE_SPACE)
            start = self.at
            quoted = self._string()
            part = _content(quoted) if quoted else self._take(_BARE_KEY)
            path = (*path, part)
            self.lines.setdefault(path, self._line(start))
            self._skip(_INLINE_SPACE)
            if not self.text.startswith(".", self.at):
                return path
            self.at += 1

    def _value(self, path: KeyPath) -> None:
        match self.text[self.at]:
            case "[":
                self._list(path)
            case "{":
                self._inline(path)
            case '"' | "'":
                self._string()
            case _:
                self._take(_SCALAR)

    def _list(self, path: KeyPath) -> None:
        self.at += 1
        index = 0
        while self.text[self._skip(_SPACE)] != "]":
            element = (*path, str(index))
            self._note(element)
            self._value(element)
            index += 1
            if self.text[self._skip(_SPACE)] == ",":
                self.at += 1
        self.at += 1

    def _inline(self, path: KeyPath) -> None:
        self.at += 1
        while self.text[self._skip(_SPACE)] != "}":
            self._pair(path)
            if self.text[self._skip(_SPACE)] == ",":
                self.at += 1
        self.at += 1

    def _string(self) -> str:
        for pattern in _STRINGS:
            if found := pattern.match(self.text, self.at):
                self.at = found.end()
                return found.group()
        return ""

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None or not found.group():
            raise ValueError(f"no TOML at line {self._line(self.at)}")
        self.at = found.end()
        return found.group()

    def _skip(self, pattern: re.Pattern[str]) -> int:
        found = pattern.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return self.at

    def _note(self, path: KeyPath) -> None:
        self.lines.setdefault(path, self._line(self.at))

    def _line(self, at: int) -> int:
        return self.text.count("\n", 0, at) + 1


def _content(quoted: str) -> str:
    return str(tomllib.loads(f"key = {quoted}")["key"])
