"""The generator that all of `numpy.random` shares, replaced by one of the place that asks (`streams`).

`numpy.random.default_rng()` needs nothing: it takes its seed from `secrets`.
"""

import importlib.machinery
import sys
import weakref
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

from stepwell_sandbox.guest.streams import Stream, current

MODULE = "numpy.random"
SEED_WORDS = 16  # of 32 bits


def watch() -> None:
    """Replace it as soon as it is imported, once in a process."""
    sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds one module, and does to it what is to be done when it has been loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        loader: Any = spec.loader if spec is not None else None
        if loader is not None:
            load = loader.exec_module

            def load_and_replace(module: ModuleType) -> None:
                load(module)
                if self in sys.meta_path:  # not loaded anew
                    sys.meta_path.remove(self)
                    replace(module)

            loader.exec_module = load_and_replace
        return spec


def replace(module: Any) -> None:
    """Make the functions of `numpy.random`, and the generator that other packages take from it, those of each place."""
    source = module.mtrand
    plain: Any = source.RandomState
    shared: Any = source._rand
    states: weakref.WeakKeyDictionary[Stream, Any] = weakref.WeakKeyDictionary()

    def of_place() -> Any:
        stream = current()
        if stream is None:
            return shared
        if stream not in states:
            words = stream.draw(4 * SEED_WORDS)
            states[stream] = plain([int.from_bytes(words[n : n + 4]) for n in range(0, len(words), 4)])
        return states[stream]

    def by_place(name: str) -> Any:
        def draw(self: Any, *args: Any, **kwargs: Any) -> Any:
            return getattr(of_place(), name)(*args, **kwargs)

        draw.__name__ = name
        draw.__doc__ = getattr(plain, name).__doc__
        return draw

    names = [name for name in dir(plain) if not name.startswith("_") and callable(getattr(plain, name))]
    placed = type("RandomState", (plain,), {name: by_place(name) for name in names})()
    source._rand = placed
    for owner in (source, module):
        for name, item in list(vars(owner).items()):
            if getattr(item, "__self__", None) is shared:
                setattr(owner, name, getattr(placed, item.__name__))
        owner.seed = placed.seed
