"""Words of texts, identifiers and queries."""

import re

MAX_QUERY = 2000  # characters read of a query
MAX_TERMS = 40  # distinct words searched for

_WORD = re.compile(r"[^\W_]+")
# Between the words of `fetchHTTPResponse2json`.
_INNER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])")

_STOP_WORDS = (
    "a about all am an and any are as at be been but by can could did do does for from had has have having he her him "
    "his how i if in into is it its just like me my need no not of on or our please she should so some than that the "
    "their them then there these they this those to us want was way we were what when where which who why will with "
    "would you your run workflow workflows "
    # How people and models dress up a request.
    "able also anything assist d give help im know let ll looking look m provide re really recommend s show something "
    "t tell ve"
)
STOP_WORDS = frozenset(_STOP_WORDS.split())


def split_words(text: str) -> list[str]:
    """Return the lower-case words of a text, identifiers taken apart."""
    return [part.lower() for word in _WORD.findall(text) for part in _INNER.split(word) if part]


def has_words(query: str) -> bool:
    """Say whether there is anything to search for."""
    return _WORD.search(query, 0, MAX_QUERY) is not None


def indexed_words(text: str) -> list[str]:
    """Return the words of a text as they are indexed: `GitHub` gives git, hub, github."""
    words: list[str] = []
    for word in _WORD.findall(text):
        parts = [part.lower() for part in _INNER.split(word) if part]
        words += parts
        if len(parts) > 1:
            words.append(word.lower())
    return words


def query_terms(query: str) -> list[str]:
    """Return the words of a query worth searching for; all of them if none is left otherwise."""
    words = list(dict.fromkeys(split_words(query[:MAX_QUERY])))
    return ([word for word in words if word not in STOP_WORDS] or words)[:MAX_TERMS]


def squeezed(name: str) -> str:
    """Return what names have in common that differ in case and separators only."""
    return "".join(split_words(name))
