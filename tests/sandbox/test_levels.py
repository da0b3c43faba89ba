"""The ladder on machines that lack something, made by a filter over the whole test server."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from confined import RAW_ENTRY, RAW_GUEST, names_in, with_our_code
from stepwell.errors import SandboxUnavailable
from stepwell_sandbox.confine.libc import MACHINE
from stepwell_sandbox.confine.syscalls import NUMBERS
from stepwell_sandbox.interpreter import find_interpreter
from stepwell_sandbox.launch import Level
from stepwell_sandbox.levels import NAMES, start_proven
from stepwell_sandbox.link import Machine
from stepwell_sandbox.open import probe
from stepwell_sandbox.scratch import Folder

NAMESPACES = ("mount", "pivot_root", "setns", "umount2", "unshare")
"""As Docker's filter refuses them to containers without rights."""
LANDLOCK = ("landlock_create_ruleset",)
EVERYTHING = ("mount", "landlock_create_ruleset", "capset")
CALLS = NUMBERS[MACHINE] | {"landlock_create_ruleset": 444, "capset": {"x86_64": 126, "aarch64": 91}[MACHINE]}

PROGRAM = Path(__file__).parent / "programs" / "lesser_machine.py"


def on_machine_without(calls: tuple[str, ...], minimum: str, root: Path) -> dict[str, Any]:
    command = [sys.executable, str(PROGRAM), json.dumps([CALLS[name] for name in calls]), minimum, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=with_our_code())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_without_namespaces_the_level_is_b(tmp_path: Path) -> None:
    found = on_machine_without(NAMESPACES, "B", tmp_path)
    assert (found["value"], found["level"]) == (42, "B")
    assert [name for name, _ in found["report"]["refused"]] == ["A", "A2"]
    present = {layer["name"]: layer["present"] for layer in found["report"]["layers"]}
    assert present == {
        "bubblewrap namespaces": False,
        "namespaces per run": False,
        "Landlock": True,
        "system call filter": True,
        "resource limits": True,
    }
    assert all(layer["present"] or layer["mend"] for layer in found["report"]["layers"])


def test_a_minimum_that_cannot_be_had_refuses_with_commands(tmp_path: Path) -> None:
    found = on_machine_without(NAMESPACES, "A", tmp_path)
    assert "cannot isolate at level A or better, no bubblewrap namespaces and no namespaces per run (" in found["error"]
    assert found["hint"].splitlines()[0].startswith("bubblewrap namespaces: ")


def test_without_landlock_and_namespaces_runs_are_refused(tmp_path: Path) -> None:
    found = on_machine_without(NAMESPACES + LANDLOCK, "B", tmp_path)
    assert "cannot isolate at level B or better" in found["error"]
    assert "Landlock: " in found["hint"]
    assert "lsm=landlock" in found["hint"]


def test_level_c_is_used_when_it_is_named(tmp_path: Path) -> None:
    found = on_machine_without(NAMESPACES + LANDLOCK, "C", tmp_path)
    assert (found["value"], found["level"]) == (42, "C")


def test_level_none_is_used_when_it_is_named_and_warns(tmp_path: Path) -> None:
    refused = on_machine_without(EVERYTHING, "C", tmp_path)
    assert "cannot isolate at level C" in refused["error"]
    found = on_machine_without(EVERYTHING, "none", tmp_path)
    assert (found["value"], found["level"]) == (42, "none")
    assert "NOT isolated" in found["report"]["warnings"][0]


@pytest.mark.asyncio
async def test_a_level_that_starts_but_does_not_hold_is_refused(tmp_path: Path) -> None:
    hollow = Level("hollow", bubblewrap=False, own_namespaces=False, landlock=False, paths=True)
    folder = Folder(tmp_path, (RAW_GUEST,))
    async with asyncio.timeout(60):
        with pytest.raises(SandboxUnavailable, match="does not hold: a process could read "):
            await start_proven(hollow, Machine(find_interpreter(), folder, RAW_ENTRY))
    folder.remove()


@pytest.mark.asyncio
async def test_the_report_names_every_layer(tmp_path: Path) -> None:
    async with asyncio.timeout(60):
        report = await probe("none", tmp_path)
    assert report.level in NAMES
    assert len(report.layers) == 5
    assert all(layer.stops for layer in report.layers)
    assert names_in(tmp_path) == []
