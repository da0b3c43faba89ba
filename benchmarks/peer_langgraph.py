"""LangGraph with its SQLite checkpointer: `python peer_langgraph.py STEPS`, prints JSON.

One graph whose only node does nothing and leads to itself; `durability="sync"`, so that each step is stored before
the next. Its checkpointer opens the file in WAL mode with `synchronous = FULL`, as we do.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, TypedDict

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

RUNS = 100
STEPS_EACH = 10


class State(TypedDict):
    done: int
    wanted: int


async def step(state: State) -> dict[str, int]:
    return {"done": state["done"] + 1}


def where(state: State) -> str:
    return "step" if state["done"] < state["wanted"] else END


async def measure(path: Path, n: int) -> dict[str, float]:
    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        graph: Any = StateGraph(State).add_node("step", step).add_edge(START, "step")
        app = graph.add_conditional_edges("step", where).compile(checkpointer=saver)

        async def run(name: str, steps: int) -> None:
            config = {"configurable": {"thread_id": name}, "recursion_limit": steps + 10}
            await app.ainvoke({"done": 0, "wanted": steps}, config, durability="sync")

        await run("warm", 20)
        began = time.perf_counter()
        await run("one", n)
        middle = time.perf_counter()
        await asyncio.gather(*(run(f"of many {i}", STEPS_EACH) for i in range(RUNS)))
        end = time.perf_counter()
    return {"sequential": n / (middle - began), "concurrent": RUNS * STEPS_EACH / (end - middle)}


def main(n: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(measure(Path(folder) / "langgraph.sqlite", n))))


if __name__ == "__main__":
    main(int(sys.argv[1]))
