import random

import pytest

from stepwell.catalog.catalog import Catalog
from stepwell.errors import NotFound
from stepwell.search.words import query_terms, split_words

pytestmark = pytest.mark.asyncio

LIBRARY = {
    "fetch_json": "Fetch and parse JSON from a URL",
    "get_repo_metadata": "Get GitHub repository metadata: name, stars, language",
    "resize_images": "Shrink pictures in a folder to a given width",
    "send_weekly_report": "Collect the numbers of the week and mail them to the team",
    "convert_currency": "Convert an amount of money between currencies at today's rate",
    "summarizeArticle": "Write a short summary of a long article",
    "clean_csv": "Remove empty rows and fix the headers of a CSV file",
}


async def fill(catalog: Catalog) -> None:
    for name, description in LIBRARY.items():
        source = f'"""{description}."""\ndef run(source_path: str) -> dict:\n    return {{}}\n'
        intents = ["what is 20 EUR in dollars"] if name == "convert_currency" else []
        await catalog.create(name, source, intents=intents)


async def names(catalog: Catalog, query: str, limit: int = 5) -> list[str]:
    return [hit.workflow.name for hit in (await catalog.search(query, limit)).items]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("fetch_json", "fetch_json"),
        ("fetch json", "fetch_json"),
        ("FETCH JSON!", "fetch_json"),
        ("I want to get the stars of a github repository", "get_repo_metadata"),
        ("summarize an article", "summarizeArticle"),
        ("article summaries", "summarizeArticle"),
        ("how many dollars are 20 EUR?", "convert_currency"),
        ("mailing the weekly numbers", "send_weekly_report"),
        ("please clean up my csv files", "clean_csv"),
        ("repo metadata", "get_repo_metadata"),
        ("currncy convert", "convert_currency"),
        ("artic", "summarizeArticle"),
        ("githubb", "get_repo_metadata"),
    ],
)
async def test_an_intent_finds_its_workflow_first(catalog: Catalog, query: str, first: str) -> None:
    await fill(catalog)
    assert (await names(catalog, query))[0] == first


async def test_an_exact_name_is_first_and_certain(catalog: Catalog) -> None:
    await fill(catalog)
    await catalog.create("json", '"""Json json json."""\ndef run() -> None: ...', description="json " * 50)
    found = await catalog.search("fetch_json")
    assert (found.items[0].workflow.name, found.items[0].score, found.items[0].why) == ("fetch_json", 1.0, "exact name")
    assert (await names(catalog, "summarizeArticle"))[0] == "summarizeArticle"


async def test_scores_are_shares_and_a_stray_query_is_of_low_confidence(catalog: Catalog) -> None:
    await fill(catalog)
    good = await catalog.search("convert money between currencies")
    assert not good.low_confidence
    assert all(0 < hit.score <= 1 for hit in good.items)
    assert [hit.score for hit in good.items] == sorted((hit.score for hit in good.items), reverse=True)
    stray = await catalog.search("book a table at an italian restaurant for a team of seven people")
    assert stray.low_confidence
    assert stray.mode == "lexical"


async def test_a_single_workflow_is_found_with_confidence(catalog: Catalog) -> None:
    await catalog.create("fetch_json", '"""Fetch and parse JSON from a URL."""\ndef run(url: str) -> dict: ...')
    found = await catalog.search("fetch json data from the web")
    assert [hit.workflow.name for hit in found.items] == ["fetch_json"]
    assert not found.low_confidence


async def test_a_misspelt_name_is_told_the_right_one_among_very_many(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepwell.catalog.names.CANDIDATES", 1)  # compared letter by letter
    await fill(catalog)
    with pytest.raises(NotFound) as refused:
        await catalog.get("summarise_artcle")
    assert "summarizeArticle" in refused.value.hint


async def test_the_limit_is_kept_and_an_empty_catalogue_finds_nothing(catalog: Catalog) -> None:
    empty = await catalog.search("anything")
    assert (empty.items, empty.low_confidence) == ((), True)
    await fill(catalog)
    assert len(await names(catalog, "source path run", 3)) <= 3
    assert len(await names(catalog, "a", -1)) <= 1
    assert len(await names(catalog, "name", 10**9)) <= 50


@pytest.mark.parametrize(
    "query",
    [
        "",
        " ",
        '"',
        '"unclosed',
        "*",
        "json*",
        "NEAR(json csv, 2)",
        "json AND",
        "NOT",
        "-json",
        "name:json",
        "{name description}: json",
        "^json",
        "json + csv",
        "(",
        "'; DROP TABLE workflows; --",
        "json\0csv",
        "\ud800",
        "the of and",
        "日本語 の 検索",
        "🚀🚀",
        "a\u0301\u0301",
        "ﬁle",
        "x" * 100_000,
        "word " * 50_000,
    ],
)
async def test_no_text_is_syntax_or_an_error(catalog: Catalog, query: str) -> None:
    await fill(catalog)
    found = await catalog.search(query)
    assert len(found.items) <= 5


async def test_random_unicode_is_harmless(catalog: Catalog) -> None:
    await fill(catalog)
    rng = random.Random(7)
    for _ in range(300):
        query = "".join(chr(rng.choice([rng.randrange(0x250), rng.randrange(0x110000)])) for _ in range(8))
        await catalog.search(query)


async def test_words_of_identifiers_are_split() -> None:
    assert split_words("fetchHTTPResponse2json_file") == ["fetch", "http", "response", "2", "json", "file"]
    assert query_terms("How do I fetch the JSON?") == ["fetch", "json"]
    assert query_terms("what to do") == ["what", "to", "do"]
