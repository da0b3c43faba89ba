"""What a command-line tool works in is gone after its call, or once another server calls one."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from stepwell.tools.scratch import scratch_directory

CALLING = """
import asyncio, sys
from stepwell.tools.scratch import scratch_directory

async def main():
    async with scratch_directory() as path:
        print(path, flush=True)
        sys.stdin.read()

asyncio.run(main())
"""


@pytest.mark.asyncio
async def test_what_a_killed_server_left_is_removed_and_what_is_in_use_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "stepwell-tool-link").symlink_to(tmp_path)
    (tmp_path / "stepwell-tool-file").touch()

    def calling() -> subprocess.Popen[str]:
        words = [sys.executable, "-c", CALLING]
        env = {"TMPDIR": str(tmp_path)}
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)

    with calling() as killed, calling() as alive:
        assert killed.stdout and alive.stdout  # noqa: PT018
        left, used = (Path(server.stdout.readline().strip()) for server in (killed, alive) if server.stdout)
        killed.kill()
        killed.wait()
        (left / "more").write_text("something")
        async with scratch_directory() as own:
            assert (left.parent.exists(), used.exists(), own.exists()) == (False, True, True)
        assert not own.parent.exists()
        alive.communicate()
    assert set(os.listdir(tmp_path)) == {"stepwell-tool-link", "stepwell-tool-file"}
