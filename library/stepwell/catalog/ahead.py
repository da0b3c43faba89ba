"""Vectors of documents that are being stored, begun before they are."""

from concurrent.futures import Future
from contextlib import suppress
from threading import Event, Lock

from stepwell.catalog.vectors import digest_of, embed_documents
from stepwell.search.document import Document
from stepwell.search.loading import Models

MAX_BEGUN = 8
"""What is stored faster than that is embedded later, with all else that waits."""
PATIENCE_S = 1.0


class Ahead:
    """Vectors that the thread of the models makes, or has made and nobody has taken. May be used from any thread."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._lock = Lock()
        self._begun: dict[tuple[str, bytes], Future[bytes]] = {}
        """By model and digest of the text, the oldest first."""

    def begin(self, document: Document, after: Event) -> None:
        """Begin to make the vector of a document that nobody else can see yet, `after` something. Takes no time."""
        embedder = self._models.wanted
        if embedder is None:
            return
        with self._lock:
            if len(self._begun) >= MAX_BEGUN:
                oldest = next(iter(self._begun))
                if not self._begun[oldest].done():
                    return
                del self._begun[oldest]  # it was not stored after all

            def embed() -> bytes:
                after.wait(PATIENCE_S)
                return embed_documents(embedder, [document])[0]

            with suppress(RuntimeError):  # closed meanwhile: the next process makes it
                vector = self._models.begin(embed)
                self._begun[embedder.key, digest_of(document)] = vector

    def take(self, model: str, digest: bytes) -> bytes | None:
        """Return a vector that was begun. In the thread of the models, where it is made by now."""
        with self._lock:
            vector = self._begun.pop((model, digest), None)
        if vector is None or not vector.done() or vector.cancelled() or vector.exception() is not None:
            return None
        return vector.result()
