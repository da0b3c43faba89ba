"""What an agent's chats remember: each goes on with the conversation of the code that chats.

The workflow's body has one conversation with an agent, and so has each attempt of a step, which begins with none: on a
replay a step that has its result does not chat again. It is made anew from recorded answers, and part of what is asked.
"""

from dataclasses import dataclass

MAX_EXCHANGES = 50
MAX_CHARACTERS = 200_000
MAX_PLACES = 1000  # attempts of steps at one time


@dataclass(slots=True, eq=False)
class Exchange:
    """What was said to an agent, and its answer once there is one."""

    said: str
    answer: str | None = None


class Conversations:
    """The conversations with one agent."""

    def __init__(self) -> None:
        self._places: dict[str, list[Exchange]] = {}

    def begin(self, path: str, text: str) -> tuple[list[list[str]], Exchange]:
        """Return what was said before in the scope of that path, and the new exchange, which has its place behind it.

        Exchanges are in the order in which they were begun, whatever the order of their answers.
        """
        place = _place(path)
        known = self._places.setdefault(place, [])
        answered = [item for item in known if item.answer is not None]
        if len(answered) >= MAX_EXCHANGES or sum(len(item.said) + len(item.answer or "") for item in answered) > (
            MAX_CHARACTERS
        ):
            # Half of it at once: what is left stays the same for a while, and in the provider's cache.
            del answered[: (len(answered) + 1) // 2]
            known[:] = [item for item in known if item.answer is None or item in answered]
        exchange = Exchange(text)
        known.append(exchange)
        if len(self._places) > MAX_PLACES:
            del self._places[next(other for other in list(self._places) if other not in ("", place))]
        return [[item.said, item.answer or ""] for item in answered], exchange

    def forget(self, path: str) -> None:
        """Begin anew."""
        self._places.pop(_place(path), None)


def _place(path: str) -> str:
    # The innermost attempt: `charge@2/`. No name in a path has an unescaped `@`.
    head, at, rest = path.rpartition("@")
    return f"{head}@{rest.partition('/')[0]}" if at else ""
