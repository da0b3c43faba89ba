"""Texts to vectors. Importing this loads numpy; loading a model, fastembed: about half a second and 100 MB."""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stepwell.search.document import RECIPE
from stepwell.search.models import Model, Placed

if TYPE_CHECKING:
    from fastembed import TextEmbedding

MAX_QUERY = 1000  # characters
MAX_TEXT = 3000  # characters, about 700 tokens: the time grows with the square of their number
_REMEMBERED = 256  # queries

Matrix = NDArray[np.float32]


class Embedder:
    """One loaded model. May be used from several threads."""

    def __init__(self, model: Model, key: str, loaded: "TextEmbedding") -> None:
        self.model = model
        self.key = key
        """The same for the same files and recipe, so vectors under it can be compared."""
        self._loaded = loaded
        self._queries: dict[str, Future[Matrix]] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="stepwell-query")

    def embed_query(self, query: str) -> Matrix:
        """Return the vector of a query, of length 1."""
        return self.begin_query(query)()

    def begin_query(self, query: str) -> Callable[[], Matrix]:
        """Begin to make the vector of a query, in a thread; what is returned waits for it."""
        text = self.model.prefix + query[:MAX_QUERY]
        begun = self._queries.get(text)
        if begun is None or (begun.done() and begun.exception() is not None):  # what failed is tried anew
            if len(self._queries) >= _REMEMBERED:
                self._queries.clear()
            begun = self._queries[text] = self._thread.submit(self._embed_query, text)
        return begun.result

    def _embed_query(self, text: str) -> Matrix:
        return self._embed([text])[0]

    def embed_texts(self, texts: Sequence[str]) -> Matrix:
        """Return one row for each text, each of length 1."""
        return self._embed([text[:MAX_TEXT] for text in texts])

    def _embed(self, texts: list[str]) -> Matrix:
        rows = np.zeros((len(texts), self.model.dimensions), np.float32)
        # One at a time: models of 8 bits round by what else is in a batch, and all of it takes as long as its longest.
        for row, found in zip(rows, self._loaded.embed(texts, batch_size=1), strict=True):
            row[:] = found / max(float(np.linalg.norm(found)), 1e-12)
        return rows


def load_embedder(placed: Placed, cache: Path) -> Embedder:
    """Load a model whose files are here; nothing is fetched.

    Raises:
        Exception: whatever fastembed and onnxruntime raise for files that are missing or broken.
    """
    # Heavy, and only needed where meanings are compared.
    from fastembed import TextEmbedding  # noqa: PLC0415

    model = placed.model
    name = _register(model, placed) if model.pooling else model.name
    options: dict[str, Any] = {"threads": 1, "cache_dir": str(cache)}
    if placed.hub:
        options["local_files_only"] = True  # it links files that onnxruntime must find beside each other
    else:
        options["specific_model_path"] = str(placed.folder)
    return Embedder(model, _key(placed), TextEmbedding(name, **options))


def _register(model: Model, placed: Placed) -> str:
    from fastembed import TextEmbedding  # noqa: PLC0415 - as in `load_embedder`
    from fastembed.common.model_description import ModelSource, PoolingType  # noqa: PLC0415

    name = f"stepwell/{model.name}" if placed.hub else f"stepwell/{_digest(placed.folder / model.file)[:12]}"
    if all(known["model"] != name for known in TextEmbedding.list_supported_models()):
        TextEmbedding.add_custom_model(
            model=name,
            pooling=PoolingType(model.pooling.upper()),
            normalization=True,
            dim=model.dimensions,
            sources=ModelSource(hf=model.repository or "local/files"),
            model_file=model.file,
        )
    return name


def _key(placed: Placed) -> str:
    # The hub's folder is named after what is in it.
    files = placed.folder.name if placed.hub else _digest(placed.folder / placed.model.file)
    model = placed.model
    said = (model.name, files, model.file, model.pooling, model.prefix, model.dimensions, RECIPE, MAX_TEXT)
    return hashlib.sha256(repr(said).encode()).hexdigest()[:32]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
