"""Words of requests in full text that is large, or that changes."""

import sqlite3
from collections.abc import Callable, Generator
from contextlib import ExitStack, closing

import pytest

from stepwell.search.document import Document, columns
from stepwell.search.fulltext import FullText
from stepwell.search.ranking import rank
from stepwell.store.search_text import create_tables, drop_text, put_text

MANY = 3500


@pytest.fixture
def texts() -> Generator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    create_tables(connection)
    yield connection
    connection.close()


@pytest.fixture
def read(texts: sqlite3.Connection) -> Generator[Callable[[], FullText]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(FullText(texts)))


def put(connection: sqlite3.Connection, id_: int, name: str, description: str) -> None:
    put_text(connection, id_, columns(Document(name=name, description=description)))


def test_common_words_decide_nothing_beside_rare_ones_and_are_shown(
    texts: sqlite3.Connection, read: Callable[[], FullText]
) -> None:
    texts.execute("BEGIN")
    for id_ in range(MANY):
        put(texts, id_, f"report_{id_}", "Send the report")
    put(texts, MANY, "weather", "Send the report on rain in Lisbon")
    texts.execute("COMMIT")
    found = rank(read(), "send a report about rain", 3)
    assert found.items[0].id == MANY
    assert found.items[0].why == "words: send, report, rain"
    assert not found.low_confidence
    assert [item.id for item in rank(read(), "report 17", 1).items] == [17]
    assert len(rank(read(), "send the report", 5).items) == 5


def test_texts_that_are_added_change_what_is_kept_as_if_all_were_read_anew(
    texts: sqlite3.Connection, read: Callable[[], FullText]
) -> None:
    texts.execute("BEGIN")
    for id_ in range(1, 401):
        put(texts, id_, f"report_{id_}", f"Send the {'monthly ' * (id_ % 3)}report" + " to Lisbon" * (id_ % 7 == 0))
    texts.execute("COMMIT")
    kept = read()
    words = ["monthly", "reporting", "lisbon", "harvest", "rain"]
    asked = " ".join(words)
    assert rank(kept, asked, 5).items
    before = [kept.posting(word) for word in words]
    put(texts, 401, "harvest_rain", "Monthly, monthly: reports of rain in Lisbon")
    put(texts, 402, "other", "Nothing of the kind")
    kept.refresh()
    fresh = read()
    fresh.total()
    assert kept.total() == fresh.total() == 402
    assert kept.count(words) == fresh.count(words) == {**fresh.count_all(words)}
    for word, posting in zip(words, before, strict=True):
        anew = fresh.posting(word)
        assert kept.posting(word) is posting, "it was read again"
        assert posting.ids == anew.ids
        assert posting.weights.tolist() == pytest.approx(anew.weights.tolist(), rel=0.02)
    assert [item.id for item in rank(kept, asked, 3).items] == [item.id for item in rank(fresh, asked, 3).items]
    assert rank(kept, asked, 1).items[0].id == 401


@pytest.mark.parametrize("change", ["put", "drop"])
def test_a_text_that_has_changed_is_read_anew(
    texts: sqlite3.Connection, read: Callable[[], FullText], change: str
) -> None:
    put(texts, 1, "one", "Rain")
    put(texts, 2, "two", "Rain")
    kept = read()
    assert [item.id for item in rank(kept, "rain", 5).items] == [1, 2]
    if change == "put":
        put(texts, 1, "one", "Snow")  # as many texts with as many words
    else:
        drop_text(texts, 1)
    kept.refresh()
    assert [item.id for item in rank(kept, "rain", 5).items] == [2]
    assert kept.count(["rain", "snow"]) == {"rain": 1, "snow": int(change == "put")}
