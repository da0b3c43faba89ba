import asyncio
from pathlib import Path

import pytest

from catalog.sources import FETCH, RESEARCH, TYPES
from stepwell.catalog.analysis import analyse
from stepwell.catalog.catalog import Catalog
from stepwell.errors import InvalidArguments, InvalidName, InvalidSource, NameTaken, NotFound, RequestError
from stepwell.ports import WorkflowSource
from stepwell.store.database import Database, open_database

pytestmark = pytest.mark.asyncio

OTHER = '"""Fetch a page of text."""\ndef run(url: str) -> str:\n    return tools.fetch(url=url)\n'


async def tables(database: Database) -> list[int]:
    names = ("versions", "workflows", "workflow_versions", "search_text")
    return await database.read(lambda c: [c.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names])


async def test_a_created_workflow_is_there_with_all_that_was_read(catalog: Catalog) -> None:
    made = await catalog.create("research", RESEARCH, tags=["web", "web"], intents=["find out about  a topic"])
    assert made.created
    assert made.replaced is None
    found = await catalog.get("research")
    assert found == made.workflow
    assert found.version.source == RESEARCH
    assert found.version.signature == "research(topic: str, depth: int = 2) -> dict"
    assert found.version.context_parameters == ("ctx",)
    assert found.version.options["requires"] == {"gpu": True}
    assert found.description == "Research a topic, let a person approve, publish."
    assert (found.tags, found.intents) == (("web",), ("find out about a topic",))
    assert found.versions == (found.version.hash,)


async def test_workflows_survive_in_the_store(tmp_path: Path) -> None:
    async with open_database(tmp_path / "home.db") as database:
        made = await Catalog(database).create("fetch_json", FETCH)
    async with open_database(tmp_path / "home.db") as database:
        catalog = Catalog(database)
        assert await catalog.get("fetch_json") == made.workflow
        assert await catalog.version(made.workflow.version.hash) == made.workflow.version
        assert [hit.workflow.name for hit in (await catalog.search("parse json")).items] == ["fetch_json"]


async def test_what_was_read_of_types_comes_back_from_the_store_as_it_was(catalog: Catalog) -> None:
    made = await catalog.create("all_types", TYPES)
    assert await catalog.version(made.workflow.version.hash) == analyse(TYPES, name="all_types")


async def test_create_executes_nothing(catalog: Catalog, tmp_path: Path) -> None:
    target = tmp_path / "executed"
    source = f"open({str(target)!r}, 'w').write('x')\ndef run() -> None: ...\n"
    made = await catalog.create("writes", source)
    assert made.created
    assert not target.exists()
    assert "no_files" in {item.code for item in made.warnings}


async def test_creating_the_same_again_is_success(catalog: Catalog) -> None:
    first = await catalog.create("fetch_json", FETCH, tags=["web"])
    again = await catalog.create("fetch_json", f"```python\n{FETCH}```")
    assert not again.created
    assert again.workflow == first.workflow
    told = await catalog.create("fetch_json", FETCH, tags=["other"])
    assert [item.code for item in told.warnings] == ["not_updated"]
    assert (await catalog.get("fetch_json")).tags == ("web",)


async def test_another_source_under_a_taken_name_is_refused_and_the_old_one_stays(
    catalog: Catalog, database: Database
) -> None:
    first = await catalog.create("fetch_json", FETCH)
    before = await tables(database)
    for source, description in ((OTHER, None), (FETCH, "Something else")):
        with pytest.raises(NameTaken) as caught:
            await catalog.create("fetch_json", source, description=description)
        assert "replace=True" in caught.value.hint
    assert await catalog.get("fetch_json") == first.workflow
    assert await tables(database) == before


async def test_replace_makes_a_new_version_and_keeps_the_old(catalog: Catalog) -> None:
    first = (await catalog.create("fetch", FETCH)).workflow
    await catalog.pin("fetch", True)
    second = await catalog.create("fetch", OTHER, replace=True)
    assert second.created
    assert second.replaced == first.version.hash
    current = await catalog.get("fetch")
    assert current.versions == (current.version.hash, first.version.hash)
    assert current.pinned
    old = await catalog.get("fetch", first.version.hash[:12])
    assert (old.version, old.description) == (first.version, first.description)
    back = await catalog.create("fetch", FETCH, replace=True)
    assert back.workflow.versions == (first.version.hash, current.version.hash)


async def test_replace_can_change_the_description_alone(catalog: Catalog) -> None:
    first = await catalog.create("fetch", FETCH)
    changed = await catalog.create("fetch", FETCH, description="Load JSON", tags=["x"], replace=True)
    assert (changed.created, changed.replaced) == (True, None)
    found = await catalog.get("fetch")
    assert (found.description, found.tags) == ("Load JSON", ("x",))
    assert found.versions == (first.workflow.version.hash,)


async def test_a_deleted_workflow_is_gone_but_its_version_stays(catalog: Catalog) -> None:
    made = (await catalog.create("fetch_json", FETCH)).workflow
    assert await catalog.delete("fetch_json") is True
    assert await catalog.delete("fetch_json") is False
    assert await catalog.find("fetch_json") is None
    assert (await catalog.search("fetch json")).items == ()
    assert (await catalog.list()).total == 0
    assert await catalog.version(made.version.hash) == made.version
    with pytest.raises(NotFound):
        await catalog.get("fetch_json", made.version.hash)


async def test_a_deleted_name_can_be_created_anew(catalog: Catalog) -> None:
    old = (await catalog.create("fetch_json", FETCH, tags=["old"])).workflow
    await catalog.pin("fetch_json", True)
    await catalog.delete("fetch_json")
    made = await catalog.create("fetch_json", OTHER)
    assert (made.created, made.replaced) == (True, None)
    assert not made.workflow.pinned
    assert made.workflow.tags == ()
    assert await catalog.version(old.version.hash) == old.version


async def test_one_source_under_two_names_has_two_signatures(catalog: Catalog) -> None:
    first = (await catalog.create("first", FETCH)).workflow
    second = (await catalog.create("second", FETCH)).workflow
    assert first.version.hash == second.version.hash
    assert (await catalog.get("first")).version.signature.startswith("first(")
    assert (await catalog.get("second")).version.signature.startswith("second(")


async def test_the_entry_can_be_chosen(catalog: Catalog) -> None:
    source = "@workflow\ndef one(ctx): ...\n@workflow\ndef two(ctx): ...\n"
    made = await catalog.create("two_of_them", source, entry="two")
    assert made.workflow.version.entry == "two"


async def test_a_dry_run_says_what_would_happen_and_stores_nothing(catalog: Catalog, database: Database) -> None:
    dry = await catalog.create("fetch_json", FETCH, dry_run=True)
    assert not dry.created
    assert dry.workflow.version.signature == "fetch_json(url: str, headers: dict = None) -> dict"
    assert await tables(database) == [0, 0, 0, 0]
    await catalog.create("fetch_json", FETCH)
    with pytest.raises(NameTaken):
        await catalog.create("fetch_json", OTHER, dry_run=True)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"name": "not a name"}, InvalidName),
        ({"name": "search"}, InvalidName),
        ({"source": "x = 1"}, InvalidSource),
        ({"source": "x" * 10_000_000}, InvalidSource),
        ({"source": "def run(): ...\0"}, InvalidSource),
        ({"source": "x = " + "[" * 10_000}, InvalidSource),
        ({"source": "# \ud800\ndef run(): ..."}, InvalidSource),
        ({"description": "x" * 2001}, InvalidArguments),
        ({"intents": ["x"] * 11}, InvalidArguments),
        ({"intents": ["x" * 201]}, InvalidArguments),
        ({"tags": ["x"] * 21}, InvalidArguments),
        ({"tags": ["x" * 51]}, InvalidArguments),
    ],
)
async def test_what_cannot_be_stored_leaves_nothing(
    catalog: Catalog, database: Database, arguments: dict[str, str], error: type[RequestError]
) -> None:
    with pytest.raises(error) as caught:
        await catalog.create(**({"name": "fetch_json", "source": FETCH} | arguments))  # pyright: ignore[reportArgumentType]
    assert caught.value.hint
    assert await tables(database) == [0, 0, 0, 0]


async def test_odd_text_in_a_description_is_stored_as_text(catalog: Catalog) -> None:
    made = await catalog.create("odd", FETCH, description="a\0b\ud800 - ünï 🚀", tags=["\ud800", " "])
    assert (await catalog.get("odd")).description == "ab? - ünï 🚀"
    assert made.workflow.tags == ("?",)


async def test_a_description_given_stands_for_the_missing_docstring(catalog: Catalog) -> None:
    source = "def run(url: str) -> str: ..."
    assert [item.code for item in (await catalog.create("one", source)).warnings] == ["missing_docstring"]
    described = await catalog.create("two", source, description="Fetch a page")
    assert [item.code for item in described.warnings] == ["near_duplicate"]


async def test_an_unknown_name_or_version_says_what_there_is(catalog: Catalog) -> None:
    made = (await catalog.create("fetch_json", FETCH)).workflow
    with pytest.raises(NotFound) as caught:
        await catalog.get("fetch_jsn")
    assert "fetch_json" in caught.value.hint
    for version in ("abc", "", "0" * 64, "%", "\ud800", made.version.hash[:5]):
        with pytest.raises(NotFound) as caught:
            await catalog.get("fetch_json", version)
        assert made.version.hash[:12] in caught.value.hint
    with pytest.raises(NotFound):
        await catalog.version("\ud800")
    for name in ("\ud800", "\0", "x" * 1000, "a'; DROP TABLE workflows; --"):
        assert await catalog.find(name) is None
        assert await catalog.delete(name) is False
        with pytest.raises(NotFound):
            await catalog.pin(name, True)


async def test_the_list_is_paged_by_name_and_filtered_by_tag(catalog: Catalog) -> None:
    for number in range(7):
        await catalog.create(f"flow_{number}", FETCH, tags=["even"] if number % 2 == 0 else [])
    page = await catalog.list(limit=3)
    names = [item.name for item in page.items]
    while page.next_cursor:
        page = await catalog.list(limit=3, cursor=page.next_cursor)
        names += [item.name for item in page.items]
    assert names == [f"flow_{number}" for number in range(7)]
    assert page.total == 7
    even = await catalog.list(tag="even")
    assert [item.name for item in even.items] == ["flow_0", "flow_2", "flow_4", "flow_6"]
    assert even.total == 4
    assert (await catalog.list(limit=0)).items[0].name == "flow_0"
    assert (await catalog.list(cursor="\ud800", tag="\ud800")).items == ()


async def test_pins(catalog: Catalog) -> None:
    await catalog.create("fetch_json", FETCH)
    await catalog.create("research", RESEARCH)
    await catalog.pin("research", True)
    assert [item.name for item in await catalog.pinned()] == ["research"]
    await catalog.pin("research", False)
    assert await catalog.pinned() == []


async def test_of_many_creators_of_one_name_one_wins(tmp_path: Path) -> None:
    async with (
        asyncio.timeout(60),
        open_database(tmp_path / "home.db") as one,
        open_database(tmp_path / "home.db") as two,
    ):
        catalogs = [Catalog(one), Catalog(two)]
        sources = [f"{OTHER}\nNUMBER = {number}\n" for number in range(8)]
        outcomes = await asyncio.gather(
            *[catalogs[n % 2].create("fetch", source) for n, source in enumerate(sources)], return_exceptions=True
        )
        assert sum(isinstance(outcome, NameTaken) for outcome in outcomes) == 7
        assert await tables(one) == [1, 1, 1, 1]


async def test_a_workflow_like_others_names_them(catalog: Catalog) -> None:
    await catalog.create("fetch_json", FETCH)
    await catalog.create("research", RESEARCH)
    made = await catalog.create("load_json", FETCH.replace("response", "answer"))
    assert made.similar == ("fetch_json",)
    assert (await catalog.create("send_mail", OTHER, description="Send a mail to the team")).similar == ()


async def test_the_catalogue_is_what_the_engine_asks_for(catalog: Catalog) -> None:
    source: WorkflowSource = catalog
    version = source.analyse_code("rows = tools.fetch(url=url)\nrows\n")
    assert version.entry_kind == "script"
    await source.add_version(version)
    await source.add_version(version)
    assert await source.version(version.hash) == version
    assert await source.check(version, {"url": "x"}) == {"url": "x"}
    assert (await catalog.list()).total == 0
