"""How much may be kept as artifacts, and what becomes of content that nobody refers to."""

import sqlite3
from pathlib import Path

import pytest

from stepwell.errors import NotFound
from stepwell.model import RunStatus
from stepwell_server import Session
from support.server import make_home

pytestmark = pytest.mark.asyncio

LIMITS = "[artifacts]\nmax_bytes = 1000\nrun_bytes = 2000\nhome_bytes = 4000\n"
SAVE = '''
def save(name, size):
    try:
        artifacts.save(name, name[0] * size)
        return "saved"
    except ValueError as error:
        return f"{error.code}: {error}"


def run(size: int = 900) -> list:
    """Save too much, make room, and save again."""
    said = [save("big", 1001), save("a", size), save("b", size), save("c", size)]
    artifacts.delete("a")
    return [*said, save("d", size), [entry["name"] for entry in artifacts.list()]]
'''
BYTES = (
    "from stepwell.host_tools import tool\n@tool(read_only=True)\ndef page(size: int) -> bytes: return b'x' * size\n"
)


def blobs(home: Path) -> dict[int, int]:
    """Sizes of the stored contents that are no journal's, and how many of each."""
    connection = sqlite3.connect(home / "stepwell.db")
    sql = "SELECT length(data), count(*) FROM blobs WHERE length(data) > 0 GROUP BY 1"
    found = dict(connection.execute(sql).fetchall())
    connection.close()
    return found


async def test_of_one_of_a_run_and_of_all_together(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", LIMITS)
    async with Session(home) as session:
        await session.add_workflow("save", SAVE)
        run = await session.run("save")
        assert run.status is RunStatus.COMPLETED, run.error
        big, first, second, third, after, names = run.output
        assert (first, second, after) == ("saved", "saved", "saved")
        assert big.startswith("too_large: the artifact 'big' has 1,001 bytes, the limit is 1,000 bytes")
        assert "artifacts of this run" in third
        assert "run_bytes" in third
        assert names == ["b", "d"]
        assert blobs(home) == {900: 2}  # what was deleted is gone
        # The same contents are kept once, and count for each run; the third run finds no room at all.
        assert (await session.run("save")).output[1:3] == ["saved", "saved"]
        assert blobs(home) == {900: 2}
        full = await session.run("save")
        assert all("home_bytes" in said for said in full.output[1:4])
        await session.app.engine.delete_artifact(run.id, "b")
        assert blobs(home) == {900: 2}  # another run has it too
        with pytest.raises(NotFound, match="no artifact 'b'"):
            await session.app.engine.delete_artifact(run.id, "b")


async def test_bytes_that_a_tool_answers_with_count_too(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", LIMITS + '[python.own]\nfile = "own.py"\n')
    (home / "own.py").write_text(BYTES)
    source = """
from stepwell import ToolError


def run() -> list:
    said = []
    for size in (1001, 900, 900, 900):
        try:
            said.append(tools.own.page(size=size)["size"])
        except ToolError as error:
            said.append(f"{error.code}: {error}")
    return said
"""
    async with Session(home) as session:
        await session.add_workflow("pages", source)
        run = await session.run("pages")
        assert run.status is RunStatus.COMPLETED, run.error
    assert run.output[1:3] == [900, 900]
    for n, named in ((0, "max_bytes"), (3, "run_bytes")):
        assert run.output[n].startswith("too_large: own.page has answered, and ")
        assert named in run.output[n]
