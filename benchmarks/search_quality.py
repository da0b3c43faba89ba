"""How well search finds what is meant: Recall@5 and nDCG@10 of labelled requests, beside other rankings.

    python benchmarks/search_quality.py [--data DIR] [--sets toole bfcl] [--model NAME | --path DIR] [--json]

`DIR` holds `<set>.docs.jsonl` ({name, description, docstring, params, source}) and `<set>.queries.jsonl`
({text, relevant, split}). Examples for the line with three intents are drawn from `<set>.intents.jsonl` (the same
form) where that is there, else from the requests themselves, which are then not counted; means of three draws.
"""

import argparse
import json
import math
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from stepwell.search.document import Document, columns, text_for_model
from stepwell.search.embedder import Embedder, load_embedder
from stepwell.search.fulltext import FullText
from stepwell.search.models import find_model, place_folder, place_model
from stepwell.search.ranking import rank
from stepwell.search.vectors import Known, Vectors, combine
from stepwell.store.search_text import create_tables, put_text
from stepwell_server.home import find_models_folder

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "search_data"
PYTHON = ROOT / ".venv-bench" / "bin" / "python"
DEPTH = 10
INTENTS = 3
DRAWS = (1, 2, 3)

Rank = Callable[[str], list[int]]


@dataclass(frozen=True)
class Request:
    text: str
    relevant: frozenset[str]


@dataclass(frozen=True)
class Labelled:
    name: str
    documents: list[Document]
    requests: list[Request]
    examples: list[Request] = field(default_factory=list[Request])
    """Requests that are not counted."""


def read_set(folder: Path, name: str) -> Labelled:
    """Return one set of documents with requests."""

    def lines(kind: str) -> list[dict[str, Any]]:
        path = folder / f"{name}.{kind}.jsonl"
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []

    def requests(kind: str) -> list[Request]:
        return [Request(line["text"], frozenset(line["relevant"])) for line in lines(kind)]

    return Labelled(name, [_document(line) for line in lines("docs")], requests("queries"), requests("intents"))


def _document(line: dict[str, Any]) -> Document:
    said, more = line["description"], line.get("docstring", "")
    return Document(
        name=line["name"],
        description=said or more.partition("\n")[0],
        details="" if more == said else more,
        parameters=tuple((item["name"], item.get("description", "")) for item in line.get("params", ())),
        source=line.get("source", ""),
    )


class Collection:
    """Documents, indexed as the product does it."""

    def __init__(self, documents: Sequence[Document], embedder: Embedder | None, known: dict[str, Any]) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        create_tables(self.connection)
        for id_, document in enumerate(documents):
            put_text(self.connection, id_, columns(document))
        self.vectors = None if embedder is None else Vectors(embedder.model.dimensions)
        self.embedder = embedder
        self._text = FullText(self.connection)
        if self.vectors is not None and embedder is not None:
            self._embed(embedder, documents, known)
            rows = [combine(known[text_for_model(item)], self._rows(known, item.intents)) for item in documents]
            self.vectors.put(range(len(documents)), np.array(rows, np.float32))

    def _rows(self, known: dict[str, Any], texts: Sequence[str]) -> Any:
        return np.array([known[text] for text in texts], np.float32)

    def _embed(self, embedder: Embedder, documents: Sequence[Document], known: dict[str, Any]) -> None:
        texts = {text for item in documents for text in (text_for_model(item), *item.intents)} - known.keys()
        ordered = sorted(texts)
        known |= dict(zip(ordered, embedder.embed_texts(ordered), strict=True))

    def lexical(self, request: str) -> list[int]:
        return [item.id for item in rank(self._text, request, DEPTH).items]

    def dense(self, request: str) -> list[int]:
        assert self.embedder is not None
        assert self.vectors is not None
        return [id_ for id_, _ in self.vectors.nearest(self.embedder.embed_query(request), DEPTH)]

    def hybrid(self, request: str) -> list[int]:
        assert self.embedder is not None
        assert self.vectors is not None
        meaning = Known(self.embedder, self.vectors)
        found = rank(self._text, request, DEPTH, meaning=meaning)
        return [item.id for item in found.items]


def judge(documents: Sequence[Document], requests: Sequence[Request], ranking: Rank) -> dict[str, float]:
    """Return Recall@5 and nDCG@10 in percent."""
    recall = gain = 0.0
    for request in requests:
        names = [documents[id_].name for id_ in ranking(request.text)]
        recall += len(request.relevant & set(names[:5])) / len(request.relevant)
        best = sum(1 / math.log2(place + 2) for place in range(min(len(request.relevant), DEPTH)))
        gained = sum(1 / math.log2(place + 2) for place, name in enumerate(names) if name in request.relevant)
        gain += gained / best
    count = max(len(requests), 1)
    return {"requests": len(requests), "R@5": round(100 * recall / count, 1), "nDCG@10": round(100 * gain / count, 1)}


def with_intents(labelled: Labelled, seed: int) -> Labelled:
    """Give each document up to three of the requests that it serves, and leave those out of the requests."""
    pool = labelled.examples or labelled.requests
    order = list(range(len(pool)))
    random.Random(seed).shuffle(order)
    given: dict[str, list[str]] = {}
    used: set[int] = set()
    for index in order:
        for name in pool[index].relevant:
            if len(given.setdefault(name, [])) < INTENTS:
                given[name].append(pool[index].text)
                used.add(index)
    documents = [replace(item, intents=tuple(given.get(item.name, ()))) for item in labelled.documents]
    left = labelled.requests if labelled.examples else [pool[index] for index in range(len(pool)) if index not in used]
    return Labelled(labelled.name, documents, left)


def mean(figures: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: round(sum(item[name] for item in figures) / len(figures), 1) for name in figures[0]}


def ask_fastmcp(labelled: Labelled) -> dict[str, float] | str:
    """Return the figures of FastMCP's BM25 transform, from the python of `.venv-bench`; else why there are none."""
    python = os.environ.get("STEPWELL_BENCH_PYTHON", str(PYTHON))
    asked = {
        "tools": [
            {"name": item.name, "description": item.description, "parameters": item.parameters}
            for item in labelled.documents
        ],
        "requests": [request.text for request in labelled.requests],
        "depth": DEPTH,
    }
    command = [python, str(Path(__file__).with_name("peer_fastmcp.py"))]
    given = json.dumps(asked)
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=600, check=False)
    except OSError:
        return "not installed; `make bench` installs it"
    if done.returncode != 0:
        return done.stderr.strip().rpartition("\n")[2][:200]
    found = dict(zip((request.text for request in labelled.requests), json.loads(done.stdout), strict=True))
    return judge(labelled.documents, labelled.requests, found.__getitem__)


def measure(labelled: Labelled, embedder: Embedder | None) -> dict[str, Any]:
    """Return the figures of all rankings on one set."""
    known: dict[str, Any] = {}
    plain = Collection(labelled.documents, embedder, known)
    found: dict[str, Any] = {
        "FastMCP BM25": ask_fastmcp(labelled),
        "lexical": judge(labelled.documents, labelled.requests, plain.lexical),
    }
    if embedder is None:
        return found
    found["dense only"] = judge(labelled.documents, labelled.requests, plain.dense)
    found["hybrid"] = judge(labelled.documents, labelled.requests, plain.hybrid)
    draws: list[dict[str, float]] = []
    for seed in DRAWS:
        drawn = with_intents(labelled, seed)
        draws.append(judge(drawn.documents, drawn.requests, Collection(drawn.documents, embedder, known).hybrid))
    found[f"hybrid, {INTENTS} intents"] = mean(draws)
    return found


def find_embedder(name: str, path: Path | None) -> Embedder | None:
    """Return the model, if its files are here."""
    cache = find_models_folder()
    model = find_model(name)
    placed = place_folder(path, name) if path else place_model(model, cache) if model else None
    return None if placed is None else load_embedder(placed, cache)


def main() -> None:
    parser = argparse.ArgumentParser(prog="search_quality", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the sets")
    parser.add_argument("--sets", nargs="+", help="their names; all in the folder unless given")
    parser.add_argument("--model", default="offline", help="a preset or a model's name")
    parser.add_argument("--path", type=Path, help="a folder with the model")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    embedder = find_embedder(options.model, options.path)
    if embedder is None:
        print(f"no model {options.model} here: words only. `make model` builds `offline`.", file=sys.stderr)
    here = sorted(path.name.partition(".")[0] for path in options.data.glob("*.docs.jsonl"))
    if not here:
        raise SystemExit(f"no sets in {options.data}: name a folder with --data")
    sets = options.sets or here
    if unknown := [name for name in sets if name not in here]:
        raise SystemExit(f"no set {', '.join(unknown)} in {options.data}: there are {', '.join(here)}")
    found = {name: measure(read_set(options.data, name), embedder) for name in sets}
    if options.json:
        print(json.dumps({"model": None if embedder is None else embedder.model.name, "sets": found}, indent=2))
        return
    print(f"model: {'none' if embedder is None else embedder.model.name}")
    print(f"{'set':<12}{'ranking':<20}{'requests':>9}{'R@5':>8}{'nDCG@10':>9}")
    for name, rankings in found.items():
        for ranking, figures in rankings.items():
            if isinstance(figures, str):
                print(f"{name:<12}{ranking:<20}{figures}")
            else:
                print(
                    f"{name:<12}{ranking:<20}{figures['requests']:>9.0f}{figures['R@5']:>8.1f}{figures['nDCG@10']:>9.1f}"
                )


if __name__ == "__main__":
    main()
