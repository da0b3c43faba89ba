import os
from pathlib import Path

import pytest

from catalog.sources import FETCH, RESEARCH
from stepwell.catalog.catalog import Catalog
from stepwell.catalog.folder import FolderReport, FolderWatch, sync_folder

pytestmark = pytest.mark.asyncio


def write(path: Path, source: str) -> None:
    # A size of its own for each content: two writes can have one modification time.
    path.parent.mkdir(exist_ok=True)
    path.write_text(source)


def problems(report: FolderReport) -> dict[str, str]:
    return {item.path.name: item.message for item in report.problems}


async def test_files_become_workflows_named_by_their_stem(catalog: Catalog, tmp_path: Path) -> None:
    folder = tmp_path / "workflows"
    write(folder / "fetch_json.py", FETCH)
    write(folder / "_draft.py", "not python at all (")
    write(folder / "notes.txt", "x")
    report = await sync_folder(catalog, folder)
    assert report == FolderReport(created=("fetch_json",))
    found = await catalog.get("fetch_json")
    assert found.origin == "file:workflows/fetch_json.py"
    assert found.description == "Fetch and parse JSON from a URL."


async def test_a_broken_file_is_reported_and_the_others_work(catalog: Catalog, tmp_path: Path) -> None:
    folder = tmp_path / "workflows"
    write(folder / "broken.py", "def run(:\n")
    write(folder / "empty.py", "")
    write(folder / "no-name.py", FETCH)
    write(folder / "large.py", "#" * 300_000)
    (folder / "latin.py").write_bytes(b"# \xff\n")
    write(folder / "works.py", FETCH)
    report = await sync_folder(catalog, folder)
    assert report.created == ("works",)
    assert set(problems(report)) == {"broken.py", "empty.py", "no-name.py", "large.py", "latin.py"}
    assert [item.line for item in report.problems if item.path.name == "broken.py"] == [1]
    assert "no_name" in problems(report)["no-name.py"]


async def test_what_is_no_file_of_the_folder_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    folder = tmp_path / "workflows"
    outside = tmp_path / "outside.py"
    write(outside, FETCH)
    write(folder / "inside.py", FETCH)
    (folder / "linked.py").symlink_to(outside)
    (folder / "again.py").symlink_to(folder / "inside.py")
    (folder / "circle.py").symlink_to(folder / "circle.py")
    (folder / "folder.py").mkdir()
    os.mkfifo(folder / "pipe.py")
    report = await sync_folder(catalog, folder)
    assert report.created == ("again", "inside")
    assert set(problems(report)) == {"linked.py", "circle.py", "folder.py", "pipe.py"}
    assert "leads out" in problems(report)["linked.py"]


async def test_an_edit_is_a_new_version_and_a_broken_edit_keeps_the_old(catalog: Catalog, tmp_path: Path) -> None:
    folder = tmp_path / "workflows"
    watch = FolderWatch(catalog, folder)
    write(folder / "fetch.py", FETCH)
    await watch.refresh()
    first = await catalog.get("fetch")
    write(folder / "fetch.py", FETCH + "\nVERSION = 2\n")
    assert (await watch.refresh()).updated == ("fetch",)
    second = await catalog.get("fetch")
    assert second.versions == (second.version.hash, first.version.hash)
    write(folder / "fetch.py", "def run(")
    assert "fetch.py" in problems(await watch.refresh())
    assert (await catalog.get("fetch")).version == second.version
    write(folder / "fetch.py", FETCH)
    assert await watch.refresh() == FolderReport(updated=("fetch",))


async def test_a_removed_file_takes_its_workflow_with_it(catalog: Catalog, tmp_path: Path) -> None:
    folder = tmp_path / "workflows"
    watch = FolderWatch(catalog, folder)
    write(folder / "fetch.py", FETCH)
    write(folder / "broken.py", "def run(")
    await catalog.create("by_client", RESEARCH)
    await watch.refresh()
    (folder / "fetch.py").unlink()
    (folder / "broken.py").unlink()
    assert await watch.refresh() == FolderReport(deleted=("fetch",))
    assert [item.name for item in (await catalog.list()).items] == ["by_client"]


async def test_a_file_removed_while_nothing_ran_is_noticed_at_the_next_start(catalog: Catalog, tmp_path: Path) -> None:
    folder = tmp_path / "workflows"
    write(folder / "fetch.py", FETCH)
    await sync_folder(catalog, folder)
    (folder / "fetch.py").unlink()
    assert await sync_folder(catalog, folder) == FolderReport(deleted=("fetch",))
    assert await sync_folder(catalog, tmp_path / "absent" / "workflows") == FolderReport()


async def test_a_file_does_not_replace_what_a_client_made(catalog: Catalog, tmp_path: Path) -> None:
    folder = tmp_path / "workflows"
    watch = FolderWatch(catalog, folder)
    made = await catalog.create("fetch", RESEARCH)
    write(folder / "fetch.py", FETCH)
    report = await watch.refresh()
    assert [item.passing for item in report.problems] == [True]
    assert "stepwell delete fetch" in problems(report)["fetch.py"]
    assert await catalog.get("fetch") == made.workflow
    await catalog.delete("fetch")
    assert await watch.refresh() == FolderReport(created=("fetch",))


async def test_what_did_not_change_is_not_read_again(catalog: Catalog, tmp_path: Path) -> None:
    folder = tmp_path / "workflows"
    watch = FolderWatch(catalog, folder)
    write(folder / "fetch.py", FETCH)
    write(folder / "broken.py", "def run(")
    first = await watch.refresh()
    await catalog.delete("fetch")
    second = await watch.refresh()
    assert second == FolderReport(problems=first.problems)
    assert await catalog.find("fetch") is None
