"""Runs and steps beside the floors of this machine and beside peers: `make bench`.

Ratios count; a shared machine makes times vary. Peers and Stepwell are measured in turns.
"""

import argparse
import asyncio
import dataclasses
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import report
import uvloop
from calls import measure_calls
from figures import Figures
from floors import measure_floors, measure_processes
from peers import find_peers
from processes import measure_process
from runs import measure_empty, measure_resume, measure_steps
from search_speed import measure_search
from stalls import GUESTS, measure_stalls
from upstream import measure_upstream
from waiting import measure_waiting

TOPICS = ("process", "steps", "calls", "tools", "resume", "empty", "waiting", "stalls", "search")
MANY, MANY_QUICK = 1_000_000, 20_000


async def measure(figures: Figures, folder: Path, topics: list[str], *, quick: bool) -> None:
    """Measure the floors and the topics."""
    peers = [] if quick else find_peers()
    work: dict[str, Callable[[], Awaitable[None]]] = {
        "process": lambda: measure_process(figures, quick=quick),
        "steps": lambda: measure_steps(figures, folder, peers, 200 if quick else 1000, 1 if quick else 5),
        "calls": lambda: measure_calls(figures, folder),
        "tools": lambda: measure_upstream(figures, folder),
        "resume": lambda: measure_resume(figures, folder, [100] if quick else [1_000, 10_000]),
        "empty": lambda: measure_empty(figures, folder),
        "waiting": lambda: measure_waiting(figures, folder, MANY_QUICK if quick else MANY),
        "stalls": lambda: asyncio.to_thread(measure_stalls, figures, folder, 1 if quick else GUESTS),
        "search": lambda: measure_search(figures, folder, quick=quick),
    }
    measure_floors(figures, folder)
    await measure_processes(figures, 5 if quick else 50)
    for topic in topics:
        await work[topic]()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=TOPICS, default=list(TOPICS), help="measure these alone")
    parser.add_argument("--quick", action="store_true", help="small sizes, no peers: whether it works, not how fast")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--write", action="store_true", help="write results.md and results.svg beside this file")
    options = parser.parse_args()
    figures = Figures(say=lambda text: print(text, file=sys.stderr, flush=True))
    with tempfile.TemporaryDirectory(prefix="stepwell-bench-") as folder:
        uvloop.run(measure(figures, Path(folder), options.only, quick=options.quick))
    if options.json:
        found = {"figures": [dataclasses.asdict(row) for row in figures.rows], "missing": figures.missing}
        print(json.dumps(found, indent=2))
    else:
        report.show(figures)
    if options.write:
        report.write(figures)


if __name__ == "__main__":
    main()
