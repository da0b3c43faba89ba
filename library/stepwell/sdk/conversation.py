"""What an agent's chats remember: each goes on with the conversation of the code that chats.

The workflow's body has one conversation with an agent, and so has each attempt of a step, which begins with none: on a
replay a step that has its result does not chat again. It is made anew from recorded answers, and part of what is asked.
"""

from dataclasses import dataclass

MAX_EXCHANGES = 50
MAX_CHARACTERS = 200_000
MAX_PLACES = 1000  # attempts of steps at one time


@dataclass(slots=True)
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
        history = [[item.said, item.answer] for item in known if item.answer is not None]
        if len(history) >= MAX_EXCHANGES or sum(len(said) + len(answer) for said, answer in history) > MAX_CHARACTERS:
            # Half of it at once: what is left stays the same for a while, and in the provider's cache.
            history = history[(len(history) + 1) // 2 :]
            known[:] = [Exchange(said, answer) for said, answer in history]
        exchange = Exchange(text)
        known.append(exchange)
        if len(self._places) > MAX_PLACES:
            del self._places[next(other for other in self._places if other not in ("", place))]
        return history, exchange

    def forget(self, path: str) -> None:
        """Begin anew."""
        self._places.pop(_place(path), None)


def _place(path: str) -> str:
    # The innermost attempt: `charge@2/`. No name in a path has an unescaped `@`.
    head, at, rest = path.rpartition("@")
    return f"{head}@{rest.partition('/')[0]}" if at else ""
