"""Texts to vectors. Importing this loads numpy; loading a model, fastembed: about half a second and 100 MB."""

import hashlib
from collections.abc import Callable, Sequence
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
        encoder: Any = loaded.model
        self._encoder = encoder
        self._inputs = {wanted.name for wanted in encoder.model.get_inputs()} if model.pooling else set[str]()
        self._queries: dict[str, Matrix] = {}

    def embed_query(self, query: str) -> Matrix:
        """Return the vector of a query, of length 1."""
        return self.read_query(query)()

    def read_query(self, query: str) -> Callable[[], Matrix]:
        """Take a query apart; what is returned makes its vector, mostly without the interpreter's lock."""
        text = self.model.prefix + query[:MAX_QUERY]
        known = self._queries.get(text)
        if known is not None:
            return lambda: known
        compute = self._read(text)

        def make() -> Matrix:
            if len(self._queries) >= _REMEMBERED:
                self._queries.clear()
            vector = self._queries[text] = compute()
            return vector

        return make

    def embed_texts(self, texts: Sequence[str]) -> Matrix:
        """Return one row for each text, each of length 1."""
        rows = np.zeros((len(texts), self.model.dimensions), np.float32)
        # One at a time: models of 8 bits round by what else is in a batch, and all of it takes as long as its longest.
        for row, text in zip(rows, texts, strict=True):
            row[:] = self._embed(text[:MAX_TEXT])
        return rows

    def _embed(self, text: str) -> Matrix:
        return self._read(text)()

    def _read(self, text: str) -> Callable[[], Matrix]:
        if not self.model.pooling:
            return lambda: _of_length_1(next(iter(self._loaded.embed([text]))))
        # What fastembed does for a batch takes a tenth of the time of a short text.
        found = self._encoder.tokenize([text])[0]
        ids = np.array([found.ids], np.int64)[:, np.array(found.attention_mask, np.bool_)]
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        given = {name: numbers for name, numbers in given.items() if name in self._inputs}

        def compute() -> Matrix:
            tokens = self._encoder.model.run(None, given)[0][0]
            return _of_length_1(tokens.mean(axis=0) if self.model.pooling == "mean" else tokens[0])

        return compute


def _of_length_1(row: NDArray[Any]) -> Matrix:
    return row.astype(np.float32, copy=False) / np.float32(max(float(np.linalg.norm(row)), 1e-12))


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
