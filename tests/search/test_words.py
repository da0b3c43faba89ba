"""Words of requests in full text that is large, or that changes."""

import sqlite3
from collections.abc import Generator

import pytest

from stepwell.search.document import Document, columns
from stepwell.search.fulltext import FullText
from stepwell.search.ranking import rank
from stepwell.store.search_text import count_word, create_tables, put_text, text_version

MANY = 3500


@pytest.fixture
def texts() -> Generator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    create_tables(connection)
    yield connection
    connection.close()


def put(connection: sqlite3.Connection, id_: int, name: str, description: str) -> None:
    put_text(connection, id_, columns(Document(name=name, description=description)))


def test_common_words_decide_nothing_beside_rare_ones_and_are_shown(texts: sqlite3.Connection) -> None:
    texts.execute("BEGIN")
    for id_ in range(MANY):
        put(texts, id_, f"report_{id_}", "Send the report")
    put(texts, MANY, "weather", "Send the report on rain in Lisbon")
    texts.execute("COMMIT")
    found = rank(FullText(texts), "send a report about rain", 3)
    assert found.items[0].id == MANY
    assert found.items[0].why == "words: send, report, rain"
    assert not found.low_confidence
    assert [item.id for item in rank(FullText(texts), "report 17", 1).items] == [17]
    assert len(rank(FullText(texts), "send the report", 5).items) == 5


def test_what_was_counted_holds_until_a_text_changes(texts: sqlite3.Connection) -> None:
    put(texts, 1, "one", "Rain")
    before = text_version(texts)
    texts.execute("CREATE TABLE other (n)")
    texts.execute("INSERT INTO other VALUES (1)")
    assert text_version(texts) == before
    put(texts, 1, "one", "Snow")  # as many texts with as many words
    assert text_version(texts) != before
    assert (count_word(texts, "rain"), count_word(texts, "snow")) == (0, 1)
