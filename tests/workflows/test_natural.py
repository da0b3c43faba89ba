"""Twenty-odd workflows as a model writes them: each works, or gets an error that tells how to mend it."""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import pytest

from support.outside import Outside
from support.server import Server, call, make_home


@dataclass(frozen=True)
class Case:
    source: str
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    output: Any = None
    refused: str = ""
    """What the answer of create_workflow must say where it is refused."""
    warned: str = ""
    """What one of its warnings must say."""
    failed: str = ""
    """What the run's error must say."""


CASES = {
    "plain": Case("def run(name: str) -> str:\n    return f'Hello, {name}!'\n", {"name": "Ada"}, "Hello, Ada!"),
    "async": Case("async def run(n: int) -> int:\n    return n + 1\n", {"n": 1}, 2),
    "default": Case("def run(name: str = 'World') -> str:\n    return name\n", {}, "World"),
    "context": Case(
        "async def run(ctx, n: int) -> int:\n    return await ctx.step('double', lambda: n * 2)\n", {"n": 4}, 8
    ),
    "imported context": Case(
        "from stepwell import WorkflowContext\n\nasync def run(ctx: WorkflowContext, n: int) -> int:\n"
        "    doubled = await ctx.step(double, n)\n    return doubled\n\ndef double(n):\n    return n * 2\n",
        {"n": 4},
        8,
    ),
    "decorated": Case(
        "from stepwell import WorkflowContext, function, workflow\n\n@function(retries=2)\nasync def load(ctx, n):\n"
        "    return {'n': n, 'attempt': ctx.attempt}\n\n@workflow\nasync def pipeline(ctx: WorkflowContext, n: int):\n"
        "    return await ctx.step(load, n)\n",
        {"n": 1},
        {"n": 1, "attempt": 0},
    ),
    "helpers": Case(
        "import re\n\nclass Counter:\n    def __init__(self):\n        self.words = {}\n    def add(self, word):\n"
        "        self.words[word] = self.words.get(word, 0) + 1\n\ndef _clean(text):\n"
        "    return re.findall(r'\\w+', text.lower())\n\ndef run(text: str) -> dict:\n    counter = Counter()\n"
        "    for word in _clean(text):\n        counter.add(word)\n    return counter.words\n",
        {"text": "A b a"},
        {"a": 2, "b": 1},
    ),
    "dataclass": Case(
        "from dataclasses import dataclass\n\n@dataclass\nclass Item:\n    name: str\n    price: float\n    count: int = 1\n\n"
        "def run(items: list[Item]) -> float:\n    return sum(item.price * item.count for item in items)\n",
        {"items": [{"name": "a", "price": 1.5, "count": 2}, {"name": "b", "price": 1}]},
        4.0,
    ),
    "optional and literal": Case(
        "from typing import Literal, Optional\n\ndef run(mode: Literal['fast', 'slow'], limit: Optional[int] = None) -> str:\n"
        "    return f'{mode}:{limit}'\n",
        {"mode": "fast", "limit": None},
        "fast:None",
    ),
    "enum and date": Case(
        "from datetime import date\nfrom enum import Enum\n\nclass Level(Enum):\n    LOW = 'low'\n    HIGH = 'high'\n\n"
        "def run(level: Level, day: date) -> str:\n    return f'{level.name} {day.year}'\n",
        {"level": "high", "day": "2026-11-21"},
        "HIGH 2026",
    ),
    "keywords": Case(
        "def run(first: str, **rest) -> dict:\n    return {'first': first, 'rest': rest}\n",
        {"first": "a", "second": "b"},
        {"first": "a", "rest": {"second": "b"}},
    ),
    "awaited tool": Case(
        "import json\n\nasync def run(base: str) -> str:\n    text = await tools.fetch(url=base + '/page')\n"
        "    return json.loads(text)['read']\n",
        {"base": "BASE"},
        "page",
    ),
    "tool in async": Case(
        "import json\n\nasync def run(base: str) -> str:\n    return json.loads(tools.curl.get(url=base + '/page'))['read']\n",
        {"base": "BASE"},
        "page",
    ),
    "fetch in parallel": Case(
        "import asyncio\nimport json\n\nasync def run(ctx, base: str) -> list:\n"
        "    pages = await asyncio.gather(*(ctx.step(tools.fetch, url=f'{base}/{n}') for n in range(3)))\n"
        "    return [json.loads(page)['read'] for page in pages]\n",
        {"base": "BASE"},
        ["0", "1", "2"],
    ),
    "prints": Case(
        "import logging\n\nlog = logging.getLogger(__name__)\n\ndef run() -> int:\n    print('working')\n"
        "    log.info('still %s', 'working')\n    return 1\n",
        {},
        1,
    ),
    "fences": Case(["Here it is:", "```python\ndef run(n: int) -> int:\n    return n\n```\n"][1], {"n": 3}, 3),
    "indented": Case("\n    def run(n: int) -> int:\n        return n\n", {"n": 3}, 3),
    "main at the bottom": Case(
        "import asyncio\n\nasync def run(n: int = 5) -> int:\n    return n\n\nif __name__ == '__main__':\n"
        "    print(asyncio.run(run()))\n",
        {},
        5,
    ),
    "missing import": Case(
        "import requests\n\ndef run(url: str) -> str:\n    return requests.get(url).text\n",
        {"url": "x"},
        warned="tools.fetch",
        failed="No module named 'requests'",
    ),
    "forgotten import": Case(
        "def run(text: str) -> dict:\n    return json.loads(text)\n",
        {"text": "{}"},
        failed="name 'json' is not defined",
    ),
    "opens a file": Case(
        "def run() -> str:\n    with open('/etc/passwd') as file:\n        return file.read()\n",
        warned="artifacts",
        failed="/etc/passwd",
    ),
    "environment": Case(
        "import os\n\ndef run() -> str:\n    return os.environ['API_KEY']\n", warned="os.environ", failed="API_KEY"
    ),
    "gathers tools": Case(
        "import asyncio\n\nasync def run(base: str):\n    return await asyncio.gather(tools.fetch(url=base + '/a'))\n",
        {"base": "BASE"},
        warned="ctx.step(tools.",
        failed="ctx.step(tools.",
    ),
    "no entry": Case("def main():\n    return 1\n", refused="`run`"),
    "two entries": Case(
        "from stepwell import workflow\n\n@workflow\nasync def a(ctx):\n    pass\n\n@workflow\nasync def b(ctx):\n    pass\n",
        refused="entry",
    ),
    "syntax error": Case("def run(:\n    return 1\n", refused="line 1"),
    "positional only": Case("def run(*args):\n    return args\n", refused="*args"),
    "wrong argument": Case("def run(count: int) -> int:\n    return count\n", {"count": "three"}, failed="count"),
}


@pytest.fixture(scope="module")
def outside() -> Generator[Outside, None, None]:
    with Outside().serving() as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server, None, None]:
    server = Server(make_home(tmp_path_factory.mktemp("natural") / "home"))
    server.start()
    yield server
    server.stop()


@pytest.mark.row("P22", "P1", "P4", "A1", "A5", "A6", "P12")
@pytest.mark.parametrize("name", CASES)
@pytest.mark.asyncio
async def test_a_naturally_written_workflow_works_or_says_how_to_mend_it(server: Server, outside: Outside, name: str):
    case = CASES[name]
    arguments = {key: outside.url if value == "BASE" else value for key, value in case.arguments.items()}
    async with server.client() as client:
        ident = name.replace(" ", "_") + "_case"
        created = await call(client, "create_workflow", name=ident, source=case.source)
        if case.refused:
            assert case.refused in str(created["error"])
            assert "error" in await call(client, "get_workflow", name=ident)  # nothing was stored
            return
        assert "error" not in created, created
        if case.warned:
            assert case.warned in str(created["warnings"])
        run = await call(client, "invoke_workflow", name=ident, arguments=arguments)

    if case.failed:
        assert case.failed in str(run["error"])
    elif not case.warned:
        assert run.get("error") is None, run
        assert run["output"] == case.output
