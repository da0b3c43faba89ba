"""What is said of a workflow at its creation: description, tags, example requests."""

from collections.abc import Sequence

from stepwell.catalog.literal import as_text
from stepwell.errors import InvalidArguments
from stepwell.model import Version

MAX_DESCRIPTION = 2000  # characters
MAX_INTENTS = 10
MAX_INTENT = 200  # characters
MAX_TAGS = 20
MAX_TAG = 50  # characters


def description_of(given: str | None, version: Version) -> str:
    """Return the description that is given, else the source's own.

    Raises:
        InvalidArguments: it is too long.
    """
    if given is None or not given.strip():
        return version.description
    text = as_text(given).strip()
    if len(text) > MAX_DESCRIPTION:
        raise InvalidArguments(
            f"description: {len(text):,} characters, at most {MAX_DESCRIPTION:,} are accepted.",
            hint="Say in one sentence what the workflow does; put the rest into its docstring.",
        )
    return text


def tags_of(given: Sequence[str]) -> tuple[str, ...]:
    """Return the distinct tags.

    Raises:
        InvalidArguments: there are too many, or one is too long.
    """
    return _texts(given, "tags", MAX_TAGS, MAX_TAG)


def intents_of(given: Sequence[str]) -> tuple[str, ...]:
    """Return the distinct example requests.

    Raises:
        InvalidArguments: there are too many, or one is too long.
    """
    return _texts(given, "intents", MAX_INTENTS, MAX_INTENT)


def _texts(given: Sequence[str], field: str, most: int, longest: int) -> tuple[str, ...]:
    if len(given) > most:
        raise InvalidArguments(f"{field}: {len(given)} given, at most {most} are accepted.", hint="Leave some out.")
    texts = [" ".join(as_text(item).split()) for item in given]
    for text in texts:
        if len(text) > longest:
            raise InvalidArguments(
                f"{field}: {text[:40]!r}... has {len(text)} characters, at most {longest} are accepted.",
                hint="Shorten it.",
            )
    return tuple(dict.fromkeys(text for text in texts if text))
