"""The vectors of a collection in memory, and what is nearest to a query among them."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepwell.search.embedder import Embedder, Matrix
from stepwell.search.ranking import MEANING_SHARE, Best, Candidate

COMPARED = 1000
"""Rows whose cosine is taken in a large collection: those with the most signs in common with the query, which a
thirtieth of the memory tells."""

LARGE = 30_000  # rows; of fewer all cosines are taken in the time that this takes

_FEWEST = 256  # rows made room for
_NOWHERE = -1
_APART = -2.0  # for the cosine of a row that was not compared
_BITS = 64  # of one word of signs


class Vectors:
    """One row for each document, 4 bytes and a bit for each dimension."""

    def __init__(self, dimensions: int) -> None:
        self._rows = np.zeros((0, dimensions), np.float32)
        self._signs = np.zeros((-(-dimensions // _BITS), 0), np.uint64)
        """Of each row a column, since they are compared word by word."""
        self._ids = np.zeros(0, np.int64)
        self._places = np.full(1, _NOWHERE, np.int32)
        """By id, which are numbers of rows of a table. The last one stands for all that are higher."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, id_: int) -> bool:
        return bool(self._find(np.array([id_]))[0] >= 0)

    def put(self, ids: Collection[int], rows: NDArray[np.floating]) -> None:
        """Take in the rows of some documents, each named once, in place of those that they have."""
        wanted = np.fromiter(ids, np.int64, len(ids))
        self._make_room(self._count + len(wanted), int(wanted.max()) + 2)
        places = self._places[wanted]
        new = places < 0
        added = int(np.count_nonzero(new))
        places[new] = np.arange(self._count, self._count + added)
        self._count += added
        self._places[wanted], self._rows[places], self._ids[places] = places, rows, wanted
        self._signs[:, places] = _signs(rows).T

    def drop(self, ids: Iterable[int]) -> None:
        """Forget some documents; the last row takes the place of each."""
        for id_ in ids:
            if id_ not in self:
                continue
            place = self._places[id_]
            self._places[id_] = _NOWHERE
            self._count -= 1
            if place != self._count:
                for kept in (self._rows, self._ids, self._signs.T):
                    kept[place] = kept[self._count]
                self._places[self._ids[place]] = place

    def nearest(self, vector: Matrix, limit: int) -> list[tuple[int, float]]:
        """Return ids and cosines of the documents nearest to a vector."""
        cosines = self.compare(vector)
        places = _top(cosines, limit)
        return list(zip(self._ids[places].tolist(), cosines[places].tolist(), strict=True))

    def compare(self, vector: Matrix) -> Matrix:
        """Return the cosine of each row; in a large collection, of those that are near."""
        # Not `@`: BLAS would share it among threads, and where those wait for a core it takes ten times as long.
        if self._count < LARGE:
            return np.einsum("ij,j->i", self._rows[: self._count], vector)
        cosines = np.full(self._count, _APART, np.float32)
        self._compare(vector, np.flatnonzero(self._near(vector)), cosines)
        return cosines

    def best(self, vector: Matrix, cosines: Matrix, words: Mapping[int, float], limit: int) -> list[Candidate]:
        """Return the documents with the best sum of nearness and words; one without a row keeps its words' score.

        `cosines` are those of `compare`; what the words have found and it has left out is filled in.
        """
        ids = np.fromiter(words.keys(), np.int64, len(words))
        said = np.minimum(np.fromiter(words.values(), np.float32, len(words)), 1.0)
        places = self._find(ids)
        placed = places >= 0
        held = places[placed]
        self._compare(vector, held[cosines[held] == _APART], cosines)
        scores = MEANING_SHARE * cosines
        scores[held] += (1 - MEANING_SHARE) * said[placed]
        top = _top(scores, limit)
        rows = zip(self._ids[top].tolist(), scores[top].tolist(), cosines[top].tolist(), strict=True)
        found = [Candidate(id_, score, cosine) for id_, score, cosine in rows if score > 0]
        unplaced = [Candidate(int(id_), float(score)) for id_, score in zip(ids[~placed], said[~placed], strict=True)]
        return sorted([*found, *unplaced], key=lambda item: (-item.score, item.id))[:limit]

    def _find(self, ids: NDArray[np.int64]) -> NDArray[np.int32]:
        return self._places.take(ids, mode="clip")

    def _compare(self, vector: Matrix, places: NDArray[np.integer[Any]], cosines: Matrix) -> None:
        if len(places):
            cosines[places] = np.einsum("ij,j->i", self._rows[places], vector)

    def _near(self, vector: Matrix) -> NDArray[np.bool_]:
        """Say which rows have the most signs in common with a vector: `COMPARED`, and those just as near."""
        apart = np.zeros(self._count, np.uint16)
        for signs, wanted in zip(self._signs[:, : self._count], _signs(vector[np.newaxis])[0], strict=True):
            apart += np.bitwise_count(signs ^ wanted)
        farthest = np.searchsorted(np.cumsum(np.bincount(apart)), COMPARED)
        return apart <= farthest

    def _make_room(self, rows: int, ids: int) -> None:
        if rows > len(self._rows):
            size = max(_FEWEST, rows + rows // 4)
            self._rows, self._ids = _grown(self._rows, size), _grown(self._ids, size)
            self._signs = np.ascontiguousarray(_grown(self._signs.T, size).T)
        if ids > len(self._places):
            self._places = _grown(self._places, max(_FEWEST, ids + ids // 4), _NOWHERE)


class Known:
    """A model and the vectors that it has made: the `Meaning` of a ranking."""

    def __init__(self, embedder: Embedder, vectors: Vectors) -> None:
        self._embedder = embedder
        self.vectors = vectors

    @property
    def model(self) -> str:
        """The model's name."""
        return self._embedder.model.name

    def ask(self, query: str) -> Callable[[], Best]:
        """Read a query; what is returned compares all rows with it."""
        embed = self._embedder.read_query(query)

        def compare() -> Best:
            vector = embed()
            cosines = self.vectors.compare(vector)
            return lambda words, limit: self.vectors.best(vector, cosines, words, limit)

        return compare


def combine(text: Matrix, intents: Matrix) -> Matrix:
    """Return the vector of a document with example requests: half its text, half what they have in common."""
    if not len(intents):
        return text
    middle = intents.mean(axis=0)
    both = text + middle / max(float(np.linalg.norm(middle)), 1e-12)
    return both / max(float(np.linalg.norm(both)), 1e-12)


def pack(row: Matrix) -> bytes:
    """Return a row as it is stored: float16, which ranks as float32 does."""
    return row.astype(np.float16).tobytes()


def unpack(rows: Iterable[bytes], dimensions: int) -> NDArray[np.float16]:
    """Return stored rows as a matrix."""
    return np.frombuffer(b"".join(rows), np.float16).reshape(-1, dimensions)


def _signs(rows: NDArray[np.floating]) -> NDArray[np.uint64]:
    """Return the signs of each row's numbers as bits, in whole words."""
    packed = np.packbits(rows > 0, axis=1)
    words = np.zeros((len(rows), -(-rows.shape[1] // _BITS)), np.uint64)
    words.view(np.uint8)[:, : packed.shape[1]] = packed
    return words


def _grown(kept: NDArray[Any], size: int, missing: int = 0) -> NDArray[Any]:
    grown = np.full((size, *kept.shape[1:]), missing, kept.dtype)
    grown[: len(kept)] = kept
    return grown


def _top(scores: Matrix, limit: int) -> NDArray[np.intp]:
    count = min(limit, len(scores))
    if count <= 0:
        return np.zeros(0, np.intp)
    best = np.argpartition(-scores, count - 1)[:count]
    return best[np.argsort(-scores[best], kind="stable")]
