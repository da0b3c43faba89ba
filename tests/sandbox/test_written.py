"""What a guest writes past Python's streams, and past its end."""

import asyncio
import os
from pathlib import Path

import pytest

from confined import LEVEL_NAMES, confined, run
from stepwell.ports.frames import Log
from stepwell.ports.limits import Limits

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("level", LEVEL_NAMES)
async def test_what_compiled_code_prints_and_the_trace_of_a_crash_are_lines_of_the_log(level: str, tmp_path: Path):
    said = "import os\ndef run():\n    os.write(1, b'one\\n\\x1b[2Jtw')\n    os.write(2, b'o \\xff')\n    return 1"
    crash = "import ctypes\ndef run():\n    ctypes.string_at(8)"
    async with asyncio.timeout(60), confined(level, tmp_path) as link:
        before = len(os.listdir("/proc/self/fd"))
        ran = await run(link, said)
        crashed = await run(link, crash)
        assert len(os.listdir("/proc/self/fd")) == before
    lines = [(frame.level, frame.text) for frame in ran.frames if isinstance(frame, Log)]
    assert (ran.value, lines) == (1, [("stderr", "one"), ("stderr", "\\x1b[2Jtwo \\xff")])
    assert "Segmentation fault" in crashed.printed
    assert "string_at" in crashed.printed


async def test_a_flood_of_it_is_bounded_and_ends_with_the_output_limit(tmp_path: Path):
    flood = "import os\ndef run():\n    for _ in range(400): os.write(1, bytes(8192) + b'\\n' * 8192)\n    return 1"
    async with asyncio.timeout(60), confined("B", tmp_path) as link:
        ran = await run(link, flood, Limits(output_bytes=100_000))
    assert ran.value == 1
    assert len(ran.printed) < 600_000  # a zero byte is shown as four characters
    assert "output cut" in ran.printed
    assert ran.exit is not None
    assert ran.exit.dropped_lines > 0
