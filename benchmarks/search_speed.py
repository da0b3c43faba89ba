"""How long a search takes, and what being found costs, in homes of a thousand to a hundred thousand workflows.

The texts are windows of Python's own documentation, so that common and rare words are as far apart as in any text.
The vectors of workflows are random, those of requests are the model's: making the former is what takes minutes.
"""

import asyncio
import random
import re
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
from figures import Figures
from search_quality import find_embedder
from served import Served

from stepwell.catalog.analysis import analyse
from stepwell.catalog.documents import document_of
from stepwell.model import Workflow
from stepwell.search.document import columns
from stepwell.search.vectors import pack
from stepwell.store import search_vectors
from stepwell.store import workflows as store
from stepwell_server import Session

TOPIC = "search"
SIZES, SIZES_QUICK = (1_000, 10_000, 100_000), (1_000, 10_000)
MOST_MS = {1_000: (2.0, 4.0), 10_000: (4.0, 8.0), 100_000: (15.0, 30.0)}
"""The middle and the 95th of a hundred."""
FIRST_MS, LEXICAL_MS, SEMANTIC_MS, START_MS, MEMORY_MB = 10.0, 5.0, 20.0, 5.0, 250.0
MEMORY_SIZE = 10_000
ASKED, CREATED, STARTS = 200, 15, 7
MODEL = "offline"
_SOURCE = (
    '"""{said}"""\n\n\ndef run({first}: str, {second}: int = 1) -> dict:\n    """{more}"""\n    return {{"n": {n}}}\n'
)
_WORDS = re.findall(r"[A-Za-z]{2,}", " ".join(topics.values()))


async def measure_search(figures: Figures, folder: Path, *, quick: bool) -> None:
    """Measure homes of all sizes; by words alone where `make model` has built no model."""
    embedder = await asyncio.to_thread(find_embedder, MODEL, None)
    key = None if embedder is None else embedder.key
    dimensions = 0 if embedder is None else embedder.model.dimensions
    for size in SIZES_QUICK if quick else SIZES:
        home = await make_home(folder / f"search-{size}")
        began = time.perf_counter()
        await asyncio.to_thread(fill, home / "stepwell.db", size, key, dimensions)
        figures.say(f"made a home with {size:,} workflows in {time.perf_counter() - began:.0f} s")
        await _measure_answers(figures, home, size, model=key is not None)
        if size == MEMORY_SIZE:
            await _measure_start(figures, home, await make_home(folder / "search-0"))
            await asyncio.to_thread(_measure_memory, figures, home, model=key is not None)


async def make_home(path: Path) -> Path:
    """Make a home with one workflow."""
    write_settings(path)
    async with Session(path) as session:
        await session.add_workflow("first", "def run() -> int:\n    return 1\n")
    return path


def write_settings(path: Path) -> None:
    """Make the folder of a home which asks nothing of the network."""
    path.mkdir()
    (path / "stepwell.toml").write_text("[search]\noffline = true\n")


def fill(database: Path, count: int, key: str | None, dimensions: int) -> None:
    """Store workflows, each with a vector if there is a model's key."""
    rng, numbers = random.Random(1), np.random.default_rng(1)
    connection = sqlite3.connect(database, isolation_level=None)
    connection.row_factory = sqlite3.Row
    try:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -200000")
        connection.execute("BEGIN IMMEDIATE")
        if key is not None:
            search_vectors.want_model(connection, key, MODEL, dimensions, time.time())
        for n in range(count):
            workflow = _workflow(rng, n)
            store.put_workflow(connection, workflow, columns(document_of(workflow)))
        if key is not None:
            for row in connection.execute("SELECT id FROM workflows").fetchall():
                vector = numbers.standard_normal(dimensions).astype(np.float32)
                packed = pack(vector / np.float32(np.linalg.norm(vector)))
                search_vectors.put_vector(connection, key, int(row["id"]), b"", packed)
            connection.execute("DELETE FROM search_pending")
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


def _text(rng: random.Random, words: int) -> str:
    start = rng.randrange(len(_WORDS) - words)
    return " ".join(_WORDS[start : start + words])


def _source(rng: random.Random, n: int) -> str:
    first, second = f"{_text(rng, 1)}_{_text(rng, 1)}".lower(), f"{_text(rng, 1)}_count".lower()
    return _SOURCE.format(said=_text(rng, 12), more=_text(rng, 30), first=first, second=second, n=n)


def _name(rng: random.Random, n: int) -> str:
    return f"{_text(rng, 3).replace(' ', '_').lower()}_{n}"


_TEMPLATE = analyse(_source(random.Random(0), 0), name="template")


def _workflow(rng: random.Random, n: int) -> Workflow:
    # Analysing a source takes longer than all else; every workflow has the parameters of one.
    name, said = _name(rng, n), _text(rng, 14)
    version = replace(_TEMPLATE, hash=f"{n:064x}", source=_source(rng, n), description=said)
    return Workflow(
        name=name, description=said, tags=(), intents=(), version=version, created_at=float(n), origin="client"
    )


async def _measure_answers(figures: Figures, home: Path, size: int, *, model: bool) -> None:
    rng = random.Random(2)
    async with Session(home) as session:
        began = time.perf_counter()
        await session.search(_text(rng, 8))
        first = (time.perf_counter() - began) * 1000
        figures.at_most(TOPIC, f"first answer after opening, with {size:,}", round(first, 2), "ms", FIRST_MS)
        if model:
            await _wait_for_model(session)
        for _ in range(20):
            await session.search(_text(rng, 8))
        times: list[float] = []
        worked = time.process_time()
        for _ in range(ASKED):
            request = _text(rng, rng.randint(5, 10))
            began = time.perf_counter()
            await session.search(request)
            times.append((time.perf_counter() - began) * 1000)
        worked = (time.process_time() - worked) * 1000 / ASKED
        kind = "by words and meaning" if model else "by words"
        middle, late = MOST_MS[size]
        figures.at_most(TOPIC, f"{kind}, with {size:,}: p50", _share(times, 0.5), "ms", middle)
        figures.at_most(TOPIC, f"{kind}, with {size:,}: p95", _share(times, 0.95), "ms", late)
        figures.add(TOPIC, f"{kind}, with {size:,}: processor time", round(worked, 2), "ms")
        await _measure_creating(figures, session, home / "stepwell.db", size, model=model)


async def _measure_creating(figures: Figures, session: Session, database: Path, size: int, *, model: bool) -> None:
    rng = random.Random(4)
    by_words: list[float] = []
    by_meaning: list[float] = []
    worked = time.process_time()
    for n in range(CREATED):
        name, said, source = f"{_name(rng, n)}_new", _text(rng, 14), _source(rng, n)
        began = time.perf_counter()
        await session.add_workflow(name, source, description=said)
        by_words.append((time.perf_counter() - began) * 1000)
        if model:
            await asyncio.to_thread(_wait_for_vectors, database)
        found = (await session.search(f"{said} {name}", 1)).items[0]
        if found.workflow.name != name or (model and "meaning" not in found.why):
            raise RuntimeError(f"{name} is not found: {found.workflow.name}, {found.why}")
        by_meaning.append((time.perf_counter() - began) * 1000)
    worked = (time.process_time() - worked) * 1000 / CREATED
    figures.at_most(TOPIC, f"create to found by words, with {size:,}: p50", _share(by_words, 0.5), "ms", LEXICAL_MS)
    if model:
        figures.at_most(
            TOPIC, f"create to found by meaning, with {size:,}: p50", _share(by_meaning, 0.5), "ms", SEMANTIC_MS
        )
    figures.add(TOPIC, f"create, with {size:,}: processor time of all", round(worked, 2), "ms")


async def _wait_for_model(session: Session) -> None:
    async with asyncio.timeout(60):
        while (await session.search("anything")).mode != "hybrid":  # noqa: ASYNC110 - nothing tells when it is loaded
            await asyncio.sleep(0.05)


def _wait_for_vectors(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        while connection.execute("SELECT EXISTS (SELECT 1 FROM search_pending)").fetchone()[0]:
            time.sleep(0.0005)


async def _measure_start(figures: Figures, home: Path, empty: Path) -> None:
    times: dict[Path, list[float]] = {home: [], empty: []}
    for _ in range(STARTS):  # in turns, since other work on the machine comes and goes
        for path, found in times.items():
            began = time.perf_counter()
            async with Session(path):
                found.append((time.perf_counter() - began) * 1000)
    beyond = round(min(times[home]) - min(times[empty]), 2)
    figures.at_most(TOPIC, f"a start with {MEMORY_SIZE:,}: beyond one with none", beyond, "ms", START_MS)


def _measure_memory(figures: Figures, home: Path, *, model: bool) -> None:
    rng = random.Random(3)
    with Served(home) as server:
        while server.call("search_workflows", query=_text(rng, 8))["mode"] != "hybrid" and model:
            time.sleep(0.05)
        for _ in range(50):
            server.call("search_workflows", query=_text(rng, 8))
        figures.at_most(TOPIC, f"memory of a server with {MEMORY_SIZE:,}", server.rss_mb(), "MB", MEMORY_MB)


def _share(times: Sequence[float], share: float) -> float:
    return round(sorted(times)[int(share * len(times))], 2)
