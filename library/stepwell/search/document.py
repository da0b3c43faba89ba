"""What search sees of a workflow or a tool: columns of words, and a text for the model."""

from dataclasses import dataclass

from stepwell.search.words import indexed_words, split_words
from stepwell.store.search_text import Text

RECIPE = 1
"""Of both forms. A change makes every document be indexed anew, behind the index that there is."""

MAX_SOURCE = 400  # characters; more of it dilutes both rankings
MAX_DETAILS = 400  # characters that the model gets
MAX_COLUMN = 8000  # characters of any column


@dataclass(frozen=True, slots=True)
class Document:
    """Something that can be found."""

    name: str
    description: str
    details: str = ""
    """More of its documentation."""
    parameters: tuple[tuple[str, str], ...] = ()
    """Names and descriptions."""
    source: str = ""
    """Code, without its documentation."""
    intents: tuple[str, ...] = ()
    """Requests that it serves, in the words of those who make them."""


def columns(document: Document) -> Text:
    """Return the columns for full text; identifiers are split, the name is there whole as well."""
    return Text(
        name=f"{document.name} {_split(document.name)}",
        description=_split(document.description),
        details=_split(document.details),
        parameters=_split(" ".join(f"{name} {said}" for name, said in document.parameters)),
        source=_split(document.source[:MAX_SOURCE]),
        intents=_split(" ".join(document.intents)),
    )


def text_for_model(document: Document) -> str:
    """Return the text whose vector stands for the document, without its intents, which have vectors of their own."""
    text = f"{document.name}: {document.description}"
    if document.parameters:
        named = ((" ".join(split_words(name)), said) for name, said in document.parameters)
        shown = (f"{name}: {said}" if said else name for name, said in named)
        text += f" Inputs: {'; '.join(shown)}."[:MAX_COLUMN]
    for more in (document.details[:MAX_DETAILS], document.source[:MAX_SOURCE]):
        if more:
            text += f"\n{more}"
    return text


def _split(text: str) -> str:
    return " ".join(indexed_words(text[:MAX_COLUMN]))
