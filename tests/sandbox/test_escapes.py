"""Attacks of every kind at every level, judged by their result and by what they did outside."""

import asyncio
import json
import os
import resource
import shutil
import socket
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from confined import LEVEL_NAMES, Ran, confined, drive
from stepwell.errors import RunError
from stepwell.model.text import clean_text
from stepwell.ports.frames import Call, Outcome
from stepwell.ports.limits import Limits
from stepwell_sandbox.link import Link

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

FOLDER = Path(__file__).parent / "escapes"
INDEX: list[dict[str, Any]] = json.loads((FOLDER / "index.json").read_text())
CATEGORIES = sorted({entry["category"] for entry in INDEX})
LIMITS = Limits(cpu_s=2, total_bytes=32 << 20, output_bytes=64 << 10)
WALL_S = 8.0
SECRET_NAME, SECRET_VALUE = "STEPWELL_TEST_API_KEY", "sk-canary-0f3c9e77aa51"
DANGEROUS_TO_ROOT = {"kern_modules_reboot", "kern_clock_hostname"}
KNOWN_LEAKS = {
    "B": {"fs_stat_metadata", "fs_proc_enumerate"},  # that a file or a process exists, and its size and times
    "C": {"py_import_site_packages_c_ext"},  # not a leak: it imports late, which needs files
}
VICTIM = """
import time
def run(secret, who, seconds):
    try:
        open("victim_file.txt", "w").write(secret)
    except OSError:
        pass
    end = time.time() + seconds
    while time.time() < end:
        assert tools.call("whoami") == who
        time.sleep(0.02)
    return tools.call("whoami")
"""


class World:
    """What an attack must not touch."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.dangers = 0
        self.make_files()
        self.victim = subprocess.Popen(["sleep", "900"], env={SECRET_NAME: SECRET_VALUE}, start_new_session=True)
        self.sockets: list[socket.socket] = []
        self.inputs: dict[str, Any] = {
            "canary_file": str(self.file), "canary_dir": str(root / "canary"), "home": str(root / "home"),
            "parent_pid": os.getpid(), "victim_pid": self.victim.pid, "env_name": SECRET_NAME,
            "env_value": SECRET_VALUE,
            "shm_key": 0x5B0C0000 | os.getpid() & 0xFFFF, "runs_secret": "VICTIM-SECRET-77", "phase": 1,
        }  # fmt: skip
        self.listen()

    @property
    def file(self) -> Path:
        return self.root / "canary" / "secret.txt"

    def make_files(self) -> None:
        shutil.rmtree(self.root / "canary", ignore_errors=True)
        shutil.rmtree(self.root / "home", ignore_errors=True)
        (self.root / "canary").mkdir(parents=True)
        (self.root / "home" / ".ssh").mkdir(parents=True)
        self.file.write_text("CANARY-CONTENT")
        self.file.chmod(0o644)
        os.utime(self.file, (1_700_000_000, 1_700_000_000))
        (self.root / "home" / ".ssh" / "id_rsa").write_text("CANARY-KEY")

    def listen(self) -> None:
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        name = f"stepwell-canary-{os.getpid()}-{id(self)}"
        abstract, path = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        abstract.bind(f"\0{name}")
        datagrams.bind(f"\0{name}-dgram")
        path.bind(str(self.root / "listener"))
        abstract.listen()
        path.listen()
        self.sockets = [tcp, udp, abstract, datagrams, path]
        for listener in self.sockets:
            listener.setblocking(False)
        self.inputs |= {
            "tcp_port": tcp.getsockname()[1], "udp_port": udp.getsockname()[1], "abstract": name,
            "unix_path": str(self.root / "listener"),
        }  # fmt: skip

    def reached(self) -> list[str]:
        """Return the names of the sockets that something was sent to."""
        found: list[str] = []
        for listener in self.sockets:
            try:
                if listener.type == socket.SOCK_DGRAM:
                    listener.recv(100)
                else:
                    listener.accept()[0].close()
            except BlockingIOError:
                continue
            found.append(str(listener.getsockname()))
        return found

    def damage(self) -> list[str]:
        """Return what an attack has done."""
        found: list[str] = []
        state = self.file.stat() if self.file.exists() else None
        if state is None or self.file.read_text() != "CANARY-CONTENT":
            found.append("canary changed")
        elif state.st_mode & 0o777 != 0o644 or state.st_mtime != 1_700_000_000 or os.listxattr(self.file):
            found.append("canary's metadata changed")
        if os.listdir(self.root / "canary") != ["secret.txt"] or os.listdir(self.root / "home") != [".ssh"]:
            found.append("files dropped")
        for folder in ("/var/tmp", "/dev/shm", "/tmp", "/run", "/"):
            found += [
                f"{folder}/{name}" for name in ("dropped_file", "persist_marker") if os.path.exists(f"{folder}/{name}")
            ]
        if self.victim.poll() is not None or self._state_of_victim() == "T":
            found.append("another process was signalled")
        if resource.prlimit(self.victim.pid, resource.RLIMIT_NOFILE)[0] == 1:
            found.append("another process was limited")
        return found + [f"{name} was reached" for name in self.reached()]

    def _state_of_victim(self) -> str:
        return Path(f"/proc/{self.victim.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]

    def close(self) -> None:
        for listener in self.sockets:
            listener.close()
        self.victim.kill()
        self.victim.wait()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[World]:
    monkeypatch.setenv(SECRET_NAME, SECRET_VALUE)
    world = World(tmp_path / "world")
    yield world
    world.close()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def attack(link: Link, world: World, source: str, name: str, **inputs: Any) -> tuple[Ran, bool]:
    """Return what came of a run and whether its time was over."""
    process = await link.spawn(LIMITS, lambda: None)

    async def answer(call: Call) -> Outcome:
        if call.name == "danger":
            world.dangers += not process.alive
        values: dict[str, object] = {"whoami": name, "big": "B" * (1 << 20), "echo": None, "danger": None}
        return Outcome(call.id, 0.0, value=msgspec.Raw(msgspec.json.encode(values.get(call.name))))

    try:
        async with asyncio.timeout(WALL_S):
            return await drive(process, source, answer, **inputs), False
    except TimeoutError:
        return Ran(exit=await process.close()), True


def judge(entry: dict[str, Any], ran: Ran, *, late: bool, grown: int) -> list[str]:  # noqa: C901, PLR0912 - a table
    """Return what is wrong with the way a run ended."""
    killed = late or (ran.exit is not None and ran.value is None and ran.error is None and ran.refusal is None)
    wrong: list[str] = []
    if isinstance(ran.value, dict) and ran.value.get("escaped") is True:  # pyright: ignore[reportUnknownMemberType]
        wrong.append(f"escaped: {ran.value}")
    for check in (entry["check"] or "").split("+"):
        match check:
            case "killed" if not killed:
                wrong.append("not killed")
            case "killed-or-error" if not killed and ran.error is None:
                wrong.append("neither killed nor failed")
            case "violation" if not isinstance(ran.refusal, RunError):
                wrong.append("not refused")
            case "noresult" if ran.value is not None:
                wrong.append("its result was taken")
            case "json-safe":
                json.dumps(ran.value, allow_nan=False, ensure_ascii=False).encode()
            case "log-cap" if len(ran.printed) > LIMITS.output_bytes + 200:
                wrong.append("output over its limit")
            case "log-clean" if clean_text(ran.printed) != ran.printed:
                wrong.append("harmful characters in output")
            case "detail-clean" if ran.error and clean_text(ran.error.error.message) != ran.error.error.message:
                wrong.append("harmful characters in an error")
            case "parent-mem" if grown > 200 << 20:
                wrong.append(f"the host grew by {grown >> 20} MiB")
            case "positive" if not isinstance(ran.value, dict) or ran.value["escaped"]:
                wrong.append("what is allowed does not work")
            case _:
                pass
    return wrong


# The strongest level and the one without bubblewrap every time, those between and below in the exhaustive form.
LEVEL_CASES = [
    pytest.param(name, marks=pytest.mark.exhaustive) if name in ("A2", "C") else name for name in LEVEL_NAMES
]


@pytest.mark.parametrize("level", LEVEL_CASES)
@pytest.mark.parametrize("category", CATEGORIES)
async def test_no_attack_gets_out(category: str, level: str, tmp_path: Path, world: World) -> None:
    failures: dict[str, list[str]] = {}
    async with asyncio.timeout(240), confined(level, tmp_path / "sandbox") as link:
        for entry in (entry for entry in INDEX if entry["category"] == category):
            name = entry["name"]
            if name in KNOWN_LEAKS.get(level, ()) or (name in DANGEROUS_TO_ROOT and os.getuid() == 0):
                continue
            wrong = await run_one(link, world, entry)
            if wrong:
                failures[name] = wrong
    assert failures == {}


async def run_one(link: Link, world: World, entry: dict[str, Any]) -> list[str]:
    source = (FOLDER / f"{entry['name']}.py.txt").read_text()
    before = resident_bytes()
    wrong: list[str] = []
    async with asyncio.TaskGroup() as tasks:
        beside = None
        if "with-victim-run" in entry["flags"]:
            told = {"secret": world.inputs["runs_secret"], "who": "victim", "seconds": 1.5}
            beside = tasks.create_task(attack(link, world, VICTIM, "victim", **told))
        ran, late = await attack(link, world, source, entry["name"], **world.inputs)
        if "two-phase" in entry["flags"]:
            ran, late = await attack(link, world, source, entry["name"], **(world.inputs | {"phase": 2}))
    if beside and beside.result()[0].value != "victim":
        wrong.append("another run was disturbed")
    wrong += judge(entry, ran, late=late, grown=resident_bytes() - before)
    wrong += world.damage()
    if world.dangers:
        wrong.append("a call was carried out for a run that had ended")
    healthy, _ = await attack(link, world, "def run(): return 'pong'", "ping")
    if healthy.value != "pong":
        wrong.append("the sandbox does not serve any more")
    return wrong
