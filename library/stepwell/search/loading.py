"""The model of a process: looked for on this machine, loaded beside everything else, replaced by a better one."""

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from stepwell.search.models import Model, Placed, find_model, is_offline, place_folder, place_model

if TYPE_CHECKING:
    from stepwell.search.embedder import Embedder

T = TypeVar("T")

FETCH_S = 3600.0  # a download may take

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """What the operator says of search."""

    model: str = "default"
    """A preset, a model's name, or `none`: words only."""
    path: Path | None = None
    """A folder with a model, instead of the cache."""
    cache: Path = field(default_factory=lambda: Path.home() / ".cache" / "stepwell" / "models")
    offline: bool = False
    """Fetch nothing."""
    learn: bool = True
    """Keep the requests whose search led to a run that completed."""

    @property
    def wanted(self) -> Model | None:
        """The model that is asked for; None for words only, and for one that is not known by name."""
        return None if self.model == "none" else find_model(self.model)


class Models:
    """The loaded models of a process. Searching never waits for any of this."""

    def __init__(self, options: SearchOptions) -> None:
        self.options = options
        self.problem = ""
        """Why there is no model, for people."""
        self.version = 0
        """Counts up with every model loaded."""
        self._loaded: dict[str, Embedder] = {}
        self._wanted: Embedder | None = None
        self._broken: set[str] = set()
        self._thread: ThreadPoolExecutor | None = None
        self._fetching: asyncio.subprocess.Process | None = None
        self._fetched = False

    @property
    def wanted(self) -> "Embedder | None":
        """The model that searches should use: the best one that is loaded."""
        return self._wanted

    def find(self, key: str) -> "Embedder | None":
        """Return a loaded model by its key."""
        return self._loaded.get(key)

    def place(self) -> Placed | None:
        """Return the best model whose files are here: the one asked for, else the one that is built offline."""
        options = self.options
        if options.model == "none":
            return None
        if options.path is not None:
            placed = place_folder(options.path, options.model)
            return None if placed is None or placed.model.name in self._broken else placed
        stand_in = find_model("offline")
        for model in (options.wanted, stand_in):
            placed = None if model is None else place_model(model, options.cache)
            if placed is not None and placed.model.name not in self._broken:
                return placed
        return None

    async def load(self) -> bool:
        """Load the best model that is here, unless it is loaded; True if that changed something."""
        placed = self.place()
        if placed is None or (self._wanted is not None and self._wanted.model == placed.model):
            return False
        found = await self._load(placed)
        if found is None:
            return await self.load()
        self._wanted = found
        return True

    async def load_named(self, name: str) -> None:
        """Load another model, whose vectors still serve."""
        model = find_model(name)
        placed = None if model is None else place_model(model, self.options.cache)
        if placed is not None and placed.model.name not in self._broken:
            await self._load(placed)

    def keep_only(self, keys: set[str]) -> None:
        """Let go of the models that nobody needs any more."""
        for key in self._loaded.keys() - keys:
            if self._loaded[key] is not self._wanted:
                del self._loaded[key]

    def should_fetch(self) -> bool:
        """Say whether the model that is asked for is not here and may be fetched."""
        model = self.options.wanted
        if model is None or not model.repository or self.options.path is not None or self._fetched:
            return False
        return not self.options.offline and not is_offline() and place_model(model, self.options.cache) is None

    async def fetch(self) -> None:
        """Fetch the model that is asked for, in a process of its own; what goes wrong is told by the doctor."""
        self._fetched = True  # once for a process: the next one tries again
        command = ("-m", "stepwell.search.fetching", self.options.model, str(self.options.cache))
        nothing = asyncio.subprocess.DEVNULL
        self._fetching = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdin=nothing, stdout=nothing, stderr=nothing
        )
        try:
            async with asyncio.timeout(FETCH_S):
                await self._fetching.wait()
        except TimeoutError:
            log.warning("fetching the model %s took longer than %g s", self.options.model, FETCH_S)
        finally:
            await self._stop_fetching()

    async def compute(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, from the thread that loads and embeds."""
        return await asyncio.wrap_future(self.begin(work))

    def begin(self, work: Callable[[], T]) -> "Future[T]":
        """Begin `work` in the same thread, after what was begun before it.

        Raises:
            RuntimeError: the models are closed.
        """
        return self._executor().submit(work)

    async def close(self) -> None:
        """Let go of everything."""
        await self._stop_fetching()
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
        self._loaded.clear()
        self._wanted = None

    async def _load(self, placed: Placed) -> "Embedder | None":
        try:
            found = await self.compute(lambda: _load_embedder(placed, self.options.cache))
        except Exception as error:  # noqa: BLE001 - foreign code on foreign files: search goes on by words
            self._broken.add(placed.model.name)
            self.problem = f"{placed.model.name} cannot be loaded: {error}"
            log.warning("%s", self.problem)
            return None
        self._loaded[found.key] = found
        self.version += 1
        return found

    async def _stop_fetching(self) -> None:
        process, self._fetching = self._fetching, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    def _executor(self) -> ThreadPoolExecutor:
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="stepwell-model")
        return self._thread


# One at a time: the switch interval is the process's, and homes that load beside each other would undo one another's.
_LOADING = threading.Lock()


def _load_embedder(placed: Placed, cache: Path) -> "Embedder":
    with _LOADING:
        # Half a second of imports: whoever else wants the interpreter gets it ten times as often meanwhile.
        usual = sys.getswitchinterval()
        sys.setswitchinterval(usual / 10)
        try:
            from stepwell.search.embedder import load_embedder  # noqa: PLC0415 - numpy: only where there is a model

            return load_embedder(placed, cache)
        finally:
            sys.setswitchinterval(usual)
