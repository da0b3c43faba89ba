"""Words for lexical search, of text and of identifiers."""

import re

from stepwell.model import Version
from stepwell.store.workflows import Text

MAX_QUERY = 2000  # characters read of a query
MAX_TERMS = 24  # distinct words searched for
_MAX_BODY = 400  # characters of source: more of it dilutes the ranking
_MAX_TEXT = 8000  # characters of one column

_WORD = re.compile(r"[^\W_]+")
# Between the words of `fetchHTTPResponse2json`.
_INNER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])")
_STRINGS = re.compile(r'"""(?:[^"]|"(?!""))*+"""', re.DOTALL)

_STOP_WORDS = (
    "a about all am an and any are as at be been but by can could did do does for from had has have having he her him "
    "his how i if in into is it its just like me my need no not of on or our please she should so some than that the "
    "their them then there these they this those to us want was way we were what when where which who why will with "
    "would you your run workflow workflows"
)
STOP_WORDS = frozenset(_STOP_WORDS.split())


def split_words(text: str) -> list[str]:
    """Return the lower-case words of a text, identifiers taken apart."""
    return [part.lower() for word in _WORD.findall(text) for part in _INNER.split(word) if part]


def query_terms(query: str) -> list[str]:
    """Return the words of a query worth searching for; all of them if none is left otherwise."""
    words = list(dict.fromkeys(split_words(query[:MAX_QUERY])))
    return ([word for word in words if word not in STOP_WORDS] or words)[:MAX_TERMS]


def search_text(name: str, description: str, intents: tuple[str, ...], version: Version) -> Text:
    """Return what search sees of a workflow."""
    parameters = " ".join(f"{item.name} {item.description}" for item in version.parameters)
    tools = " ".join(str(tool) for tool in version.manifest.get("tools", []))
    body = _STRINGS.sub("", version.source[:_MAX_TEXT]).strip()[:_MAX_BODY]
    return Text(
        name=_with_parts(name),
        description=_with_parts(description),
        intents=_with_parts(" ".join(intents)),
        parameters=_with_parts(parameters),
        body=_with_parts(f"{version.description} {tools} {body}"),
    )


def _with_parts(text: str) -> str:
    return f"{text[:_MAX_TEXT]} {' '.join(split_words(text[:_MAX_TEXT]))}"
