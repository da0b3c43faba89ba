"""`stepwell replay`, and `stepwell resume --version`: a recorded run as a test, and mended."""

import json
from pathlib import Path

from cli.processes import Stepwell

FAILING = '''
"""Add up prices."""

async def run(ctx, prices: list[float]) -> float:
    total = await ctx.step("total", sum, prices)
    if total > 10:
        raise ValueError(f"too dear: {total}")
    return total
'''
MENDED = FAILING.replace("> 10", "> 100")
OTHER = FAILING.replace('"total", sum', '"sum", sum')


def test_a_run_is_replayed_with_other_versions_and_continued_on_a_mended_one(stepwell: Stepwell, tmp_path: Path):
    stepwell.create("prices", FAILING)
    run = stepwell.here("run", "prices", "--run-id", "r1", "--json", '{"prices": [5, 6]}')
    assert run.code == 1
    assert "agree: 1 recorded" in stepwell.here("replay", "r1").out

    other = tmp_path / "other.py"
    other.write_text(OTHER)
    shown = stepwell("replay", "r1", "--file", str(other))
    assert shown.code == 1
    assert "part at 'total'" in shown.out
    assert "recorded: step:total" in shown.out
    assert "found:    step:sum at 'sum' (line 4)" in shown.out

    stepwell.create("prices", MENDED, "--replace")
    difference = json.loads(stepwell.here("replay", "r1", "--output", "json").out)["difference"]
    assert difference["recorded"] == "the end: ValueError: too dear: 11.0"
    assert difference["found"] == "the end: returned 11.0"
    assert stepwell.json("resume", "r1", "--version", "current")["output"] == 11
    assert stepwell.json("replay", "r1")["agrees"] is True
    unknown = stepwell.here("replay", "r9")
    assert unknown.code == 2
    assert "no run 'r9'" in unknown.err
