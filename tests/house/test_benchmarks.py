"""`make bench` works; what it finds is no test's business but for the number of commits."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_benchmarks_measure_floors_commits_and_resumes() -> None:
    command = [sys.executable, "benchmarks", "--quick", "--json", "--only", "calls", "resume"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=True).stdout
    found = {row["name"]: row for row in json.loads(told)["figures"]}

    assert found["one durable commit"]["value"] > 0
    assert found["a step with a call that reads"]["unit"] == "commits"
    assert found["100 recorded steps to the next new call, sync body"]["value"] > 0
