"""Small values that a workflow keeps by name: for its run, for its session, for its user."""

import inspect
from collections.abc import Callable, Generator
from typing import Any

from stepwell.sdk import codec
from stepwell.sdk.classes import find_class
from stepwell.sdk.handles import WORKFLOW_FILE, caller_line
from stepwell.sdk.runtime import drive, operate, runtime

MAX_TRIES = 1000  # of one update, each lost to another writer


class Done:
    """What a write returns: it has happened, and may be awaited all the same."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield

    def __repr__(self) -> str:
        return "<done>"


class State:
    """Values by name. In async code `get`, `keys` and `update` are awaited; writes act at once."""

    def __init__(self, scope: str) -> None:
        self._scope = scope

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key."""
        return self._ask("get", {"key": key}, lambda found: found[0] if found else default)

    def keys(self) -> Any:
        """Return the keys, sorted."""
        return self._ask("keys", {}, lambda found: found)

    def set(self, key: str, value: Any) -> Done:
        """Keep a value; of several writers the last one wins."""
        return self._act("set", {"key": key, "value": value})

    def delete(self, key: str) -> Done:
        """Forget a key, if it is there."""
        return self._act("delete", {"key": key})

    def clear(self) -> Done:
        """Forget all keys."""
        return self._act("clear", {})

    def update(self, key: str, fn: Callable[[Any], Any], default: Any = None) -> Any:
        """Replace a value by `fn(value)` and return the new one; no other writer comes between.

        `fn` is called again if another writer was faster, and on a replay: it should only compute.
        """
        if not callable(fn):
            raise TypeError(f"update takes a function of the old value, not a {type(fn).__name__}")
        place = runtime().scope().key(f"{self._scope}.update")
        return operate(self._what("update"), caller_line(WORKFLOW_FILE), lambda: self._update(place, key, fn, default))

    async def _update(self, place: str, key: str, fn: Callable[[Any], Any], default: Any) -> Any:
        rt = runtime()
        found = await rt.call("state", f"{self._scope}.read", [], {"key": key}, place)
        for n in range(MAX_TRIES):
            new = fn(found[1] if len(found) > 1 else default)
            if inspect.isawaitable(new):
                if inspect.iscoroutine(new):
                    new.close()
                raise TypeError("the function of an update is a plain one, not async")
            asked = {"key": key, "token": found[0], "value": new}
            found = await rt.call("state", f"{self._scope}.swap", [], asked, f"{place}!swap{n + 1}")
            if found is None:
                return codec.decode(codec.encode(new), find_class)
        raise RuntimeError(f"{self._what('update')}({key!r}) lost {MAX_TRIES} times to other writers")

    def _ask(self, act: str, asked: dict[str, Any], answer: Callable[[Any], Any]) -> Any:
        name = f"{self._scope}.{act}"
        place = runtime().scope().key(name)

        async def ask() -> Any:
            return answer(await runtime().call("state", name, [], asked, place))

        return operate(self._what(act), caller_line(WORKFLOW_FILE), ask)

    def _act(self, act: str, asked: dict[str, Any]) -> Done:
        name = f"{self._scope}.{act}"
        drive(runtime().call("state", name, [], asked, runtime().scope().key(name), block=True))
        return Done()

    def _what(self, act: str) -> str:
        return f"ctx.{'' if self._scope == 'run' else self._scope + '.'}state.{act}"


class Owner:
    """A session or a user, with what is kept for it."""

    def __init__(self, scope: str, ident: str) -> None:
        self.id = ident
        self.state = State(scope)
