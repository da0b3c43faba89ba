"""What can be known of macOS's level on Linux: the profile's text, the command, the watch, and the plumbing.

The program in place of `sandbox-exec` checks that it was called as the real one is, and confines nothing.
"""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from confined import RAW_ENTRY, RAW_GUEST, drive
from stepwell.errors import SandboxUnavailable
from stepwell.ports.limits import Limits
from stepwell_sandbox import seatbelt
from stepwell_sandbox.facts import read_facts
from stepwell_sandbox.interpreter import Interpreter, find_interpreter
from stepwell_sandbox.link import Machine
from stepwell_sandbox.report import describe
from stepwell_sandbox.scratch import Folder
from stepwell_sandbox.seatbelt_start import SeatbeltStart, start_seatbelt
from stepwell_sandbox.watcher import Bounds, resident_bytes, watch

PYTHON = Interpreter("/opt/py thon/bin/python3.12", ("/opt/py thon/lib/python3.12",), ("/opt/py thon/lib",), ())
STANDS_IN = """#!/bin/sh
[ "$1" = -p ] && [ "$3" = -D ] || exit 64
case "$2" in "(version 1)
(deny default)"*) ;; *) exit 65 ;; esac
case "$4" in SCRATCH=/*) ;; *) exit 66 ;; esac
shift 4
exec "$@"
"""
NESTED = "#!/bin/sh\necho 'sandbox-exec: sandbox_apply: Operation not permitted' >&2\nexit 71\n"


def program(folder: Path, text: str) -> str:
    path = folder / "sandbox-exec"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def rules(text: str) -> list[str]:
    """The expressions at the top of a profile; brackets inside of strings do not count."""
    found, depth, start, quoted, escaped = list[str](), 0, 0, False, False
    for at, character in enumerate(text):
        if quoted:
            quoted, escaped = escaped or character != '"', character == "\\" and not escaped
        elif character == '"':
            quoted = True
        elif character == "(":
            start, depth = (at if depth == 0 else start), depth + 1
        elif character == ")":
            depth -= 1
            if depth == 0:
                found.append(text[start : at + 1])
    assert (depth, quoted) == (0, False)
    return found


def test_the_profile_denies_by_default_and_says_the_worst_again_at_its_end() -> None:
    found = rules(seatbelt.profile(PYTHON, Path("/tmp/code")))
    assert found[:2] == ["(version 1)", "(deny default)"]
    denied = [rule for rule in found if rule.startswith("(deny")]
    last_allowed = max(at for at, rule in enumerate(found) if rule.startswith("(allow"))
    for rule in ("(deny process-fork)", "(deny network*)", "(deny mach-lookup)"):
        assert rule in denied
        assert found.index(rule) > last_allowed


def test_the_profile_lets_one_folder_be_written_and_only_what_python_needs_be_read() -> None:
    found = rules(seatbelt.profile(PYTHON, Path("/tmp/code")))
    writes = [rule for rule in found if rule.startswith("(allow") and "file-write" in rule]
    assert writes == ['(allow file-read* file-write* (subpath (param "SCRATCH")))', '(allow file-write-data (literal "/dev/null"))']  # fmt: skip
    reads = [rule for rule in found if rule.startswith("(allow file-read* (subpath")]
    assert '(allow file-read* (subpath "/opt/py thon/lib"))' in reads
    assert not any(re.search(r'subpath "/(Users|etc|private/etc|var|tmp|Applications)?"', rule) for rule in reads)
    assert [rule for rule in found if "process-exec" in rule] == [
        '(allow process-exec* (literal "/opt/py thon/bin/python3.12"))'
    ]


def test_no_path_can_end_the_profiles_string() -> None:
    evil = '/opt/x") (allow default) ("'
    text = seatbelt.profile(Interpreter(evil + "/python", (evil,), (evil,), ()), Path("/tmp/code"))
    assert "(allow default)" not in rules(text)
    with pytest.raises(ValueError, match="control character"):
        seatbelt.profile(Interpreter("/opt/a\nb", (), (), ()), Path("/tmp/code"))


def test_a_refusal_inside_of_another_sandbox_is_told_as_that() -> None:
    said = "sandbox-exec: sandbox_apply: Operation not permitted"
    assert "inside another macOS sandbox" in seatbelt.explain(said)
    assert seatbelt.explain("dyld: no such file") == "dyld: no such file"


@pytest.mark.asyncio
async def test_a_run_gets_a_process_of_its_own_under_the_program(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "sandbox", (RAW_GUEST,))
    start = SeatbeltStart(Machine(find_interpreter(), folder, RAW_ENTRY), program(tmp_path, STANDS_IN))
    async with asyncio.timeout(60):
        process = await start.spawn(Limits(), lambda: None)
        ran = await drive(process, "import os\ndef run(): return [41 + 1, os.getcwd()]")
        hungry = await start.spawn(Limits(scratch_bytes=1 << 20), lambda: None)
        filled = await drive(hungry, "import time\ndef run():\n open('f','wb').write(bytes(4 << 20))\n time.sleep(60)")
        await start.close()
    assert (ran.value[0], process.level) == (42, "seatbelt")
    assert ran.value[1].startswith(str(folder.runs))
    assert filled.exit is not None
    assert filled.exit.limit == "scratch_bytes"
    assert list(folder.runs.iterdir()) == []
    folder.remove()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("text", "why"),
    [(NESTED, "inside another macOS sandbox"), (STANDS_IN, "a process could create a file of the host"), (None, "there is no ")],
)  # fmt: skip
async def test_a_program_that_does_not_confine_is_refused(text: str | None, why: str, tmp_path: Path) -> None:
    folder = Folder(tmp_path / "sandbox", (RAW_GUEST,))
    name = program(tmp_path, text) if text else str(tmp_path / "missing")
    async with asyncio.timeout(60):
        with pytest.raises(SandboxUnavailable, match=why):
            await start_seatbelt(Machine(find_interpreter(), folder, RAW_ENTRY), name)
    folder.remove()


@pytest.mark.asyncio
async def test_memory_is_watched_from_outside(tmp_path: Path) -> None:
    crossed: list[str] = []
    code = "x = bytearray(80 << 20); input()"
    hungry = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=subprocess.PIPE)
    async with asyncio.timeout(60):
        await watch(hungry.pid, tmp_path, Bounds(64 << 20, 1 << 20), crossed.append)
    hungry.kill()
    await hungry.wait()
    assert crossed == ["memory_bytes"]
    assert resident_bytes(hungry.pid) == 0


def test_the_report_on_a_mac_says_what_it_lacks_and_that_it_is_untested(tmp_path: Path) -> None:
    facts = read_facts(0, tmp_path, {}, "darwin", "arm64")
    held = describe("B", seatbelt.NAME, facts, (), ())
    assert [layer.present for layer in held.layers] == [True]
    assert "it was never tried on a Mac" in held.losses
    refused = describe("A", "", facts, ((seatbelt.NAME, "macOS has seatbelt alone, which counts as B"),), ())
    assert "cannot isolate at level A or better, no seatbelt" in refused.refusal
    assert "docker run" in refused.hint
