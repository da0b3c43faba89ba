"""Search by meaning with a real model, the one that `make model` builds."""

import asyncio
import json
import shutil
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from stepwell.catalog.search import SearchResult
from stepwell.search.embedder import Embedder, Matrix
from stepwell.search.models import MANIFEST, find_model
from stepwell_server import Session

pytestmark = pytest.mark.asyncio

LIBRARY = {
    "fetch_json": "Fetch and parse JSON from a URL",
    "get_repo_metadata": "Get GitHub repository metadata: name, stars, language",
    "resize_images": "Shrink pictures in a folder to a given width",
    "send_weekly_report": "Collect the numbers of the week and mail them to the team",
    "convert_currency": "Convert an amount of money between currencies at today's rate",
    "clean_csv": "Remove empty rows and fix the headers of a CSV file",
}


def source(description: str) -> str:
    return f'"""{description}."""\n\n\ndef run(target: str) -> dict:\n    return {{"target": target}}\n'


async def fill(session: Session) -> None:
    for name, description in LIBRARY.items():
        await session.add_workflow(name, source(description))


async def indexed(session: Session, model: str | None = None) -> SearchResult:
    """Wait until a search compares meanings and none is unknown."""
    async with asyncio.timeout(60):
        while True:
            found = await session.search("anything at all")
            if found.mode == "hybrid" and not found.pending and model in (None, found.model):
                return found
            await asyncio.sleep(0.02)


async def names(session: Session, query: str, limit: int = 5) -> list[str]:
    return [hit.workflow.name for hit in (await session.search(query, limit)).items]


async def test_homes_that_load_the_model_at_once_leave_the_process_as_it_was(tmp_path: Path, models: Path) -> None:
    usual = sys.getswitchinterval()
    async with AsyncExitStack() as opened:
        homes = [await opened.enter_async_context(Session(tmp_path / str(n))) for n in range(3)]
        await asyncio.gather(*(home.add_workflow("clean_csv", source("Clean a file")) for home in homes))
        await asyncio.gather(*(indexed(home) for home in homes))
    assert sys.getswitchinterval() == usual


@pytest.mark.row("P14")
async def test_a_workflow_is_found_by_what_is_meant_without_its_words(models: Path) -> None:
    async with Session() as session:
        assert (await session.search("make photos smaller")).items == ()
        await fill(session)
        assert (await indexed(session)).model == "all-MiniLM-L6-v2-int8"
        for query, name in {
            "make photos smaller": "resize_images",
            "how popular is this open source project": "get_repo_metadata",
            "euros to dollars": "convert_currency",
            "tidy up a spreadsheet export": "clean_csv",
            "download data from a web service": "fetch_json",
        }.items():
            found = await session.search(query)
            assert found.items[0].workflow.name == name, query
            assert found.items[0].why.startswith("meaning 0.")
        assert len(await names(session, "work on a file", 2)) == 2
        nothing = await session.search(" ?!")
        assert (nothing.items, nothing.mode, nothing.low_confidence) == ((), "hybrid", True)
        assert (await session.search("fetch json")).items[0].why == "exact name"
        assert (await session.search("book a table at an italian restaurant")).low_confidence
        await session.delete_workflow("resize_images")
        assert "resize_images" not in await names(session, "make photos smaller")


async def test_before_there_is_a_model_words_are_searched(tmp_path: Path) -> None:
    async with Session(tmp_path / "home") as session:
        await fill(session)
        found = await session.search("parse json")
        assert (found.mode, found.model, found.pending) == ("lexical", None, len(LIBRARY))
        assert found.items[0].workflow.name == "fetch_json"
        assert await names(session, "make photos smaller") == []


async def test_a_model_that_comes_later_is_taken_up_by_the_next_process(tmp_path: Path, models: Path) -> None:
    (tmp_path / "home").mkdir()
    config = tmp_path / "home" / "stepwell.toml"
    config.write_text('[search]\nmodel = "none"\n')
    async with Session(tmp_path / "home") as session:
        await fill(session)
        assert (await session.search("make photos smaller")).mode == "lexical"
    config.unlink()
    async with Session(tmp_path / "home") as session:
        await indexed(session)
        assert (await names(session, "make photos smaller"))[0] == "resize_images"


async def test_processes_of_one_home_see_what_the_others_store_and_delete(tmp_path: Path, models: Path) -> None:
    home = tmp_path / "home"
    async with Session(home) as one:
        await fill(one)
        await indexed(one)
        (tmp_path / "water_plants.py").write_text(source("Water the plants in the garden"))
        assert await cli(home, "create", str(tmp_path / "water_plants.py"))
        assert (await names(one, "plants"))[0] == "water_plants"  # by words at once, whoever knows its meaning
        await indexed(one)
        assert (await names(one, "irrigate the flowers"))[0] == "water_plants"
        async with asyncio.timeout(60):
            while True:  # on a busy machine the command does not wait for the model
                found = json.loads(await cli(home, "search", "irrigate the flowers"))
                if found["mode"] == "hybrid":
                    break
        assert found["workflows"][0]["name"] == "water_plants"
        await cli(home, "delete", "water_plants")
        assert "water_plants" not in await names(one, "irrigate the flowers")


async def cli(home: Path, *arguments: str) -> str:
    command = ("-m", "stepwell_server.cli", "--home", str(home), "--output", "json", *arguments)
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    told, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return told.decode()


async def test_only_texts_that_changed_are_embedded_again(models: Path) -> None:
    async with Session() as session:
        await fill(session)
        await indexed(session)

        async def numbers() -> dict[str, int]:
            sql = "SELECT name, seq FROM search_vectors JOIN workflows ON workflows.id = workflow_id"
            return await session.app.database.read(lambda c: {row["name"]: row["seq"] for row in c.execute(sql)})

        before = await numbers()
        same, other = source(LIBRARY["clean_csv"]), source("Fetch and parse YAML from a URL")
        await session.add_workflow("clean_csv", same, tags=["files"], replace=True)
        await session.add_workflow("fetch_json", other, replace=True)
        await indexed(session)
        after = await numbers()
        assert {name for name in before if before[name] != after[name]} == {"fetch_json"}


async def test_what_is_stored_is_embedded_once_whoever_begins_it(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Session() as session:
        await fill(session)
        await indexed(session)
        embedded: list[str] = []
        embed = Embedder.embed_texts

        def noted(self: Embedder, texts: Sequence[str]) -> Matrix:
            embedded.extend(texts)
            return embed(self, texts)

        monkeypatch.setattr(Embedder, "embed_texts", noted)
        await session.add_workflow("water_plants", source("Water the plants in the garden"), intents=["flowers"])
        others = {"bake_bread": "Bake bread", "sort_mail": "Sort the mail", "tune_piano": "Tune a piano"}
        await asyncio.gather(*(session.add_workflow(name, source(said)) for name, said in others.items()))
        await indexed(session)
        assert len(embedded) == len(set(embedded)) == 5
        assert (await names(session, "irrigate blossoms"))[0] == "water_plants"
        assert (await names(session, "adjust a musical instrument"))[0] == "tune_piano"


async def test_another_model_takes_over_when_it_has_all_vectors(tmp_path: Path, models: Path) -> None:
    home, model = tmp_path / "home", find_model("offline")
    assert model is not None
    async with Session(home) as session:
        await fill(session)
        await indexed(session)
    other = tmp_path / "other"
    shutil.copytree(models / model.name.lower(), other)
    said = json.loads((other / MANIFEST).read_text())
    (other / MANIFEST).write_text(json.dumps(said | {"name": "another", "prefix": "query: "}))
    (home / "stepwell.toml").write_text(f'[search]\npath = "{other}"\n')
    async with Session(home) as session:
        found = await indexed(session, "another")
        assert found.model == "another"
        assert (await names(session, "make photos smaller"))[0] == "resize_images"

        async def models_left() -> int:
            sql = "SELECT count(DISTINCT model) FROM search_vectors"
            return await session.app.database.read(lambda c: c.execute(sql).fetchone()[0])

        async with asyncio.timeout(60):
            left = await models_left()
            while left > 1:
                await asyncio.sleep(0.02)
                left = await models_left()


async def test_a_broken_model_leaves_search_by_words(tmp_path: Path, models: Path) -> None:
    home, model = tmp_path / "home", find_model("offline")
    assert model is not None
    broken = tmp_path / "broken"
    shutil.copytree(models / model.name.lower(), broken)
    (broken / model.file).write_bytes(b"no model")
    home.mkdir()
    (home / "stepwell.toml").write_text(f'[search]\npath = "{broken}"\n')
    async with Session(home) as session:
        await fill(session)
        async with asyncio.timeout(60):
            while not session.app.indexing.problem:
                found = await session.search("parse json")
                assert (found.mode, found.items[0].workflow.name) == ("lexical", "fetch_json")
                await asyncio.sleep(0.02)


async def test_tools_are_found_by_what_is_meant(models: Path) -> None:
    async with Session() as session:
        tools = session.app.tools
        async with asyncio.timeout(60):
            found = await tools.search_tools("retrieve the contents of a web site", 3)
            while found.mode != "hybrid" or found.pending:
                await asyncio.sleep(0.02)
                found = await tools.search_tools("retrieve the contents of a web site", 3)
        assert found.items[0].spec.name in {"fetch", "curl.get"}
        assert found.items[0].why.startswith("meaning 0.")
        assert found.model == "all-MiniLM-L6-v2-int8"
