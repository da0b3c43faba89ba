"""The vectors of a collection in memory, and what is nearest to a query among them."""

from collections.abc import Collection, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from stepwell.search.embedder import Embedder, Matrix
from stepwell.search.ranking import MEANING_SHARE, Candidate

_FEWEST = 256  # rows made room for


class Vectors:
    """One row for each document, 4 bytes for each dimension."""

    def __init__(self, dimensions: int) -> None:
        self._rows = np.zeros((0, dimensions), np.float32)
        self._ids = np.zeros(0, np.int64)
        self._places: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, id_: int) -> bool:
        return id_ in self._places

    def put(self, ids: Collection[int], rows: NDArray[np.floating]) -> None:
        """Take in the rows of some documents, in place of those that they have."""
        self._make_room(len(self._places) + len(ids))
        if not self._places.keys() & set(ids) and len(set(ids)) == len(ids):
            start = len(self._places)
            self._rows[start : start + len(ids)] = rows
            self._ids[start : start + len(ids)] = list(ids)
            self._places.update((id_, start + offset) for offset, id_ in enumerate(ids))
            return
        for id_, row in zip(ids, rows, strict=True):
            place = self._places.setdefault(id_, len(self._places))
            self._rows[place] = row
            self._ids[place] = id_

    def drop(self, ids: Iterable[int]) -> None:
        """Forget some documents; the last row takes the place of each."""
        for id_ in ids:
            place = self._places.pop(id_, None)
            last = len(self._places)
            if place is None or place == last:
                continue
            self._rows[place] = self._rows[last]
            self._ids[place] = self._ids[last]
            self._places[int(self._ids[place])] = place

    def nearest(self, vector: Matrix, limit: int) -> list[tuple[int, float]]:
        """Return ids and cosines of the documents nearest to a vector."""
        cosines = self._cosines(vector)
        return [(int(self._ids[place]), float(cosines[place])) for place in _top(cosines, limit)]

    def best(self, vector: Matrix, words: Mapping[int, float], limit: int) -> list[Candidate]:
        """Return the documents with the best sum of nearness and words; one without a row keeps its words' score."""
        cosines = self._cosines(vector)
        scores = MEANING_SHARE * cosines
        unplaced: list[Candidate] = []
        for id_, score in words.items():
            place = self._places.get(id_)
            if place is None:
                unplaced.append(Candidate(id_, min(score, 1.0)))
            else:
                scores[place] += (1 - MEANING_SHARE) * min(score, 1.0)
        found = [
            Candidate(int(self._ids[place]), float(scores[place]), float(cosines[place]))
            for place in _top(scores, limit)
            if scores[place] > 0
        ]
        return sorted([*found, *unplaced], key=lambda item: (-item.score, item.id))[:limit]

    def _cosines(self, vector: Matrix) -> Matrix:
        # Not `@`: BLAS would share it among threads, and where those wait for a core it takes ten times as long.
        return np.einsum("ij,j->i", self._rows[: len(self._places)], vector)

    def _make_room(self, rows: int) -> None:
        if rows <= len(self._rows):
            return
        size = max(_FEWEST, rows + rows // 4)
        grown, ids = np.zeros((size, self._rows.shape[1]), np.float32), np.zeros(size, np.int64)
        grown[: len(self._rows)], ids[: len(self._ids)] = self._rows, self._ids
        self._rows, self._ids = grown, ids


class Known:
    """A model and the vectors that it has made: the `Meaning` of a ranking."""

    def __init__(self, embedder: Embedder, vectors: Vectors) -> None:
        self._embedder = embedder
        self.vectors = vectors

    @property
    def model(self) -> str:
        """The model's name."""
        return self._embedder.model.name

    def best(self, query: str, words: Mapping[int, float], limit: int) -> list[Candidate]:
        """Return the documents with the best score of both kinds."""
        return self.vectors.best(self._embedder.embed_query(query), words, limit)


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


def _top(scores: Matrix, limit: int) -> list[int]:
    count = min(limit, len(scores))
    if count <= 0:
        return []
    best = np.argpartition(-scores, count - 1)[:count]
    return [int(place) for place in best[np.argsort(-scores[best], kind="stable")]]
