"""Keys of calls: where in the program a call is made, independent of timing.

A key is the path of the enclosing scopes and the call's name with its occurrence in the innermost one:
`charge`, `charge#2` (its second time), `~1/load` (in the first task that the body started),
`charge@2/curl.get` (a call inside the second attempt of the step `charge`). It is taken when the call is made,
not when it is awaited, so that the order in which branches happen to run cannot change it.
"""

import contextvars
import functools
import re
from dataclasses import dataclass, field
from typing import Any

_ESCAPES = {ord(char): f"%{ord(char):02x}" for char in "%/#@~!"}
_LEVEL = re.compile(r"[^/~]~\d*/")
MAX_NAME = 200  # characters of the name of a step or call
MAX_PLACE = 1700  # characters of a key; the host takes 2000, with what is put behind it


@dataclass(slots=True)
class Scope:
    """One place that hands out keys."""

    path: str = ""
    """Ends with `/`, except the root's, which is empty."""
    ordered: bool = True
    """Whether outcomes are delivered here in the recorded order: in the body, not inside a step's attempt."""
    step: str = ""
    """The step whose attempt this is, inherited by scopes inside it."""
    attempt: int = 0
    closed: bool = False
    """Set when the attempt has timed out: whatever still runs in it may not make calls."""
    origin: str = ""
    """Path of the outermost attempt that this is inside of; empty in the body, and for that attempt itself."""
    stream: Any = None
    """Where its time and randomness come from, once it has asked for some."""
    _counts: dict[str, int] = field(default_factory=dict[str, int])
    _tasks: int = 0
    _objects: dict[str, int] = field(default_factory=dict[str, int])

    def claim(self, key: str) -> str:
        """Return the key of a call for which the author chose one.

        Raises:
            ValueError: another call in this scope has it.
        """
        check_name(key, "key", MAX_PLACE)
        name = escape(key)
        if name in self._counts:
            raise ValueError(f"key={key!r} is used twice here; give every call its own")
        self._counts[name] = 1
        return check_place(f"{self.path}{name}")

    def number(self, kind: str) -> int:
        """Return a hash for an object made here: the same on every replay, which an address is not."""
        count = self._objects[kind] = self._objects.get(kind, 0) + 1
        return hash((self.path, kind, count))

    def key(self, name: str) -> str:
        """Return the next key for a call of that name."""
        check_name(name)
        name = escape(name)
        count = self._counts[name] = self._counts.get(name, 0) + 1
        return check_place(f"{self.path}{name}" if count == 1 else f"{self.path}{name}#{count}")

    @property
    def inner_origin(self) -> str:
        """The origin of scopes inside this one."""
        return self.origin or ("" if self.ordered else self.path)

    def branch(self) -> "Scope":
        """Return the scope of the next concurrent branch."""
        self._tasks += 1
        return self.inside(f"{self.path}~{self._tasks}/")

    def inside(self, path: str) -> "Scope":
        """Return a scope of another path in the same attempt, or in the body."""
        return Scope(path, self.ordered, self.step, self.attempt, origin=self.inner_origin)


def check_name(name: object, what: str = "name", most: int = MAX_NAME) -> None:
    """Raise ValueError if a step or call cannot have that name or key."""
    if not isinstance(name, str) or not 0 < len(name) <= most or not name.isprintable():
        raise ValueError(f"a {what} is 1 to {most} printable characters, not {str(name)[:60]!r}")


def check_place(key: str) -> str:
    """Return the key of a call or step.

    Raises:
        ValueError: it is too long.
    """
    if len(key) > MAX_PLACE:
        raise ValueError(
            f"{key[:60]}... is nested too deep: its place in the program has {len(key)} characters, at most "
            f"{MAX_PLACE}; nest fewer steps and branches, or give them shorter names"
        )
    return key


@functools.lru_cache(maxsize=1024)
def escape(name: str) -> str:
    """Return `name` without the characters that have a meaning in keys."""
    return name.translate(_ESCAPES)


def depth_of(key: str) -> int:
    """Return how many nodes of a declarative workflow a key is inside of."""
    return len(_LEVEL.findall(key))


_current: contextvars.ContextVar[Scope | None] = contextvars.ContextVar("stepwell_scope", default=None)


def current_scope() -> Scope | None:
    """Return the scope of the running code; None outside a workflow."""
    return _current.get()


def enter_scope(scope: Scope) -> contextvars.Token[Scope | None]:
    """Make `scope` the current one until `leave_scope`."""
    return _current.set(scope)


def leave_scope(token: contextvars.Token[Scope | None]) -> None:
    """Undo `enter_scope`."""
    _current.reset(token)
