"""The demo program, as somebody runs it who has just cloned the project."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "demo"
LIMIT_S = 110

# Runs the demo with one of its parts changed before.
CHANGED = """
import runpy, sys
sys.path.insert(0, sys.argv[1])
sys.argv = ["demo", "--no-color"]
{change}
runpy.run_path(sys.path[0], run_name="__main__")
"""


def play(tmp_path: Path, *arguments: str, program: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DEMO), *arguments] if program is None else [sys.executable, "-c", program, str(DEMO)]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT_S, cwd=ROOT, env=environment, check=False
    )


@pytest.mark.slow
def test_every_claim_of_the_demo_holds(tmp_path: Path) -> None:
    played = play(tmp_path)

    assert played.returncode == 0, played.stdout + played.stderr
    assert played.stderr == ""
    assert "\x1b" not in played.stdout
    said = played.stdout
    for expected in (
        "the first is the one for several repositories",
        "kill -9",
        "validate and charge were not run again",
        "one charge and one confirmation were made",
        "claude mcp add",
    ):
        assert expected in said
    claims = said.count("  ok ")
    assert f"All {claims} claims hold." in said
    assert list(tmp_path.glob("stepwell-demo-*")) == []


@pytest.mark.slow
def test_the_demo_fails_when_something_differs_from_what_it_claims(tmp_path: Path) -> None:
    change = "from phases import order; order.AMOUNT = 1.0"

    played = play(tmp_path, program=CHANGED.format(change=change))

    assert played.returncode == 1
    assert "NOT AS CLAIMED: the shop has one charge" in played.stdout
    assert list(tmp_path.glob("stepwell-demo-*")) == []


def test_the_demo_says_how_to_mend_a_machine_without_isolation(tmp_path: Path) -> None:
    report = {
        "ok": False,
        "checks": [{"name": "sandbox", "verdict": "fail", "text": "no level works", "mend": "install bubblewrap"}],
    }
    doctor = tmp_path / "doctor.py"
    doctor.write_text(f"import json; print(json.dumps({report!r}))")
    change = f"from phases import ready; ready.DOCTOR = (sys.executable, {str(doctor)!r})"

    played = play(tmp_path, program=CHANGED.format(change=change))

    assert played.returncode == 2, played.stdout + played.stderr
    assert "sandbox: no level works" in played.stdout
    assert "install bubblewrap" in played.stdout


@pytest.mark.slow
def test_without_curl_the_demo_uses_other_tools_and_says_so(tmp_path: Path) -> None:
    change = "import os; os.environ['PATH'] = sys.argv[0] + '/nowhere'"

    played = play(tmp_path, program=CHANGED.format(change=change))

    assert played.returncode == 0, played.stdout + played.stderr
    assert "curl is not installed" in played.stdout
