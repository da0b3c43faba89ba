"""Documents to vectors, as they are stored."""

import hashlib
from typing import TYPE_CHECKING

from stepwell.search.document import Document, text_for_model

if TYPE_CHECKING:
    from stepwell.search.embedder import Embedder


def digest_of(document: Document) -> bytes:
    """Return what a vector follows from, in 16 bytes."""
    texts = (text_for_model(document), *document.intents)
    return hashlib.sha256("\0".join(texts).encode()).digest()[:16]


def embed_documents(embedder: "Embedder", documents: list[Document]) -> list[bytes]:
    """Return the packed vectors of documents with their intents."""
    from stepwell.search.vectors import combine, pack  # noqa: PLC0415 - numpy: only where there is a model

    texts = [text_for_model(document) for document in documents]
    intents = [intent for document in documents for intent in document.intents]
    rows = embedder.embed_texts([*texts, *intents])
    packed: list[bytes] = []
    start = len(texts)
    for row, document in zip(rows, documents, strict=False):
        end = start + len(document.intents)
        packed.append(pack(combine(row, rows[start:end])))
        start = end
    return packed
