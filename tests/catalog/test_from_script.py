"""Ad hoc code as a workflow: what becomes a parameter, what stays at the top, and that it does the same."""

import asyncio
import inspect
from typing import Any

import pytest

from stepwell.catalog.analysis import analyse
from stepwell.catalog.from_script import make_module

SCRIPTS: dict[str, tuple[str, dict[str, Any], str, Any]] = {
    "constants": (
        '"""Greet a city."""\nimport math\n\n# Where to.\nCITY = "Bern"\nTIMES: int = 2\nBIG = [1, 2]\n\n'
        'def twice(x):\n    return x * 2\n\ntext = CITY * TIMES\ntwice(text) + str(math.floor(1.5)) + str(BIG)\n',
        {}, "(CITY: str = 'Bern', TIMES: int = 2, BIG: list = [1, 2])", "BernBernBernBern1[1, 2]",
    ),
    "variables": (["n + LIMIT", "LIMIT = 3\nn + LIMIT\n"][1], {"n": 4}, "(n: int, LIMIT: int = 3)", 7),
    "a variable of the same name": ("LIMIT = 3\nLIMIT + 1\n", {"LIMIT": 9}, "(LIMIT: int)", 10),
    "changed": ("TOTAL = 0\nfor n in (1, 2):\n    TOTAL += n\nTOTAL\n", {}, "()", 3),
    "global": ("count = 0\ndef up():\n    global count\n    count += 1\nup()\nup()\ncount\n", {}, "()", 2),
    "uses": (
        "RATE = 2\ndef a(x):\n    return b(x) * RATE\ndef b(x):\n    return x + 1\ndef c():\n    return 5\na(c())\n",
        {}, "(RATE: int = 2)", 12,
    ),
    "names that the engine fills": ("ctx = 5\nwf = 2\nctx + wf\n", {}, "()", 7),
    "no value": ("x = compute = len([1])\n", {}, "()", None),
    "one line": ("a = 1; b = [a, 2]; b + [a]\n", {}, "(a: int = 1)", [1, 2, 1]),
    "long texts": ('A = 1\nt = f"""x\n  {A}\n"""\nt + """\n   y"""\n', {}, "(A: int = 1)", "x\n  1\n\n   y"),
    "await": (
        "import asyncio\nasync def f(x):\n    return x + 1\nX = 1\ny = await f(X)\ny\n", {}, "(X: int = 1)", 2,
    ),
    "asyncio.run": ("import asyncio\nX = 1\nasync def main():\n    return X\nasyncio.run(main())\n", {}, "(X: int = 1)", 1),
    "private and computed": ("_A = 1\nB = len('ab')\nC = {1: 2}\n[_A, B]\n", {}, "()", [1, 2]),
    "classes": (
        "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\nN = 2\nP(N).x\n", {}, "(N: int = 2)", 2,
    ),
    "comprehension": ("N = 3\nxs = [n * N for n in range(2)]\nsum(xs)\n", {}, "(N: int = 3)", 3),
}  # fmt: skip


@pytest.mark.row("P30")
@pytest.mark.parametrize("name", SCRIPTS)
def test_the_module_does_what_the_script_did(name: str) -> None:
    script, given, signature, expected = SCRIPTS[name]
    module = make_module(script, given)
    version = analyse(module, name="made")
    assert version.entry == "run"
    names: dict[str, Any] = {"__name__": "made"}
    exec(compile(module, "made", "exec"), names)
    assert str(inspect.signature(names["run"])) == signature
    value = names["run"](**given)
    assert (asyncio.run(value) if inspect.iscoroutine(value) else value) == expected


def test_comments_the_docstring_and_declared_packages_stay() -> None:
    script = (
        '# /// script\n# dependencies = ["six"]\n# ///\n"""Say it."""\nimport six\n\n# What is said.\nWORD = "hi"\n'
        "options = dict(retries=2)\n\n# Loudly.\nloud = WORD.upper()  # really\nloud\n"
    )
    module = make_module(script, {})
    assert module.startswith('# /// script\n# dependencies = ["six"]\n# ///\n')
    version = analyse(module, name="made")
    assert (version.description, version.options) == ("Say it.", {"retries": 2})
    assert version.manifest["dependencies"] == ["six"]
    assert "    # Loudly.\n    loud = WORD.upper()  # really" in module
