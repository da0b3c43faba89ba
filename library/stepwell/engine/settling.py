"""The outcome of a call of the host's: in the journal, and on the timeline."""

import msgspec

from stepwell.engine.book import Book
from stepwell.engine.outcome import Answer
from stepwell.model import JsonObject
from stepwell.ports.frames import Call, Failure
from stepwell.store.journal import Entry


def settle(book: Book, call: Call, entry: Entry, answer: Answer, taken: JsonObject | None = None) -> Answer:
    """Note an outcome and what it has `taken`; return it."""
    book.settle(entry, answer)
    data: JsonObject = {"call": call.name, "key": call.key} | (taken or {})
    if answer.failure is not None:
        data["error"] = f"{answer.failure.type}: {answer.failure.message}"[:500]
    book.event("call.completed" if answer.failure is None else "call.failed", data)
    return answer


async def reuse(book: Book, call: Call, digest: str, earlier: Entry) -> Answer:
    """Give the call the result of an equal one that had its effect already."""
    book.event("call.reused", {"call": call.name, "key": call.key, "from": earlier.key})
    failure = None if earlier.error is None else msgspec.json.decode(earlier.error, type=Failure)
    return settle(book, call, book.draft(call, digest), Answer(await book.value(earlier), failure))
