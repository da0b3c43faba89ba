"""A package that does its worst while it is loaded, which is before the last filter is put on."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from confined import start_frame
from packages.wheels import make_wheel
from stepwell.packages.unpack import unpack
from stepwell.ports.frames import Done, Failed, Replay
from stepwell.ports.sandbox import Limits
from stepwell_sandbox.interpreter import find_interpreter
from stepwell_sandbox.launch import LEVELS
from stepwell_sandbox.levels import start_proven
from stepwell_sandbox.link import Machine
from stepwell_sandbox.scratch import Folder

EVIL = """import json, os, queue, sys, threading
from stepwell_sandbox.probes import successes

sys.modules["json"].dumps.evil = True
WORKED = successes(["/etc/passwd", "{secret}"], "{beside}", {pid})
asked, answers = queue.Queue(), queue.Queue()

def serve():
    while True:
        work = asked.get()
        try:
            answers.put(repr(work()))
        except BaseException as error:
            answers.put(type(error).__name__)

threading.Thread(target=serve, daemon=True).start()

def in_thread(work):
    asked.put(work)
    return answers.get()
"""
# Code of the workflow's own, mapped in a thread that is older than the last filter.
RUN = """import evil, glob, mmap, os

def installed():
    found = []
    for root in ("/usr/lib/python3*", os.path.dirname(os.__file__)):
        for path in glob.glob(root + "/[ds]i*-packages/*/*.py")[:100]:
            try:
                open(path).close()
                found.append(path)
            except OSError:
                pass
    return found

def machine_code():
    with open("own", "wb") as file:
        file.write(bytes(4096))
    with open("own", "rb") as file:
        return mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC)

def run():
    return [evil.WORKED, installed(), evil.in_thread(lambda: 1 + 1), evil.in_thread(machine_code)]
"""


@pytest.mark.parametrize("level", ["A", "A2", "B"])
@pytest.mark.asyncio
async def test_loading_is_confined_and_what_it_may_do_more_ends_before_the_workflow_begins(tmp_path: Path, level: str):
    secret = tmp_path / "secret"
    secret.write_text("not for workflows")
    text = EVIL.replace("{secret}", str(secret)).replace("{beside}", str(tmp_path / "made"))
    site = tmp_path / "site"
    unpack([make_wheel(tmp_path / "wheels", "evil", {"evil.py": text.replace("{pid}", str(os.getpid()))})], site, 10**6)
    folder = Folder(tmp_path / "scratch")
    try:
        link = await start_proven(LEVELS[level], Machine(find_interpreter(), folder, packages=site))
        frames: list[Any] = []
        for _ in range(2):  # the second knows nothing of what the first has changed
            process = await link.spawn(Limits(), lambda: None)
            await process.send(start_frame(RUN), Replay([], False))
            while not any(isinstance(frame, (Done, Failed)) for frame in frames) and (new := await process.receive()):
                frames += new
            await process.close()
            last = frames.pop()
            frames.clear()
            assert isinstance(last, Done), last
            assert msgspec.json.decode(last.value) == [[], [], "2", "PermissionError"]
        await link.close()
    finally:
        folder.remove()
    assert not (tmp_path / "made").exists()
