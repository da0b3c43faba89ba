"""Zygotes of environments: one for each, few without a run, made anew when one dies."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from confined import descendants
from packages.wheels import make_wheel
from stepwell.packages.unpack import unpack
from stepwell.ports.sandbox import Limits
from stepwell_sandbox import environments
from stepwell_sandbox.open import open_sandbox
from stepwell_sandbox.scratch import Folder


def install(tmp_path: Path, name: str) -> Path:
    site = tmp_path / name / "site"
    site.parent.mkdir()
    unpack([make_wheel(tmp_path, name, {f"{name}.py": f"NAME = {name!r}\n"})], site, 10**6)
    return site


def zygotes() -> set[int]:
    """Return the interpreters that this process has started, without what they have forked."""
    found: set[int] = set()
    for pid in descendants(os.getpid()):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            above = Path(f"/proc/{parent}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if any(b"stepwell_sandbox.zygote" in word for word in words) and words != above:
            found.add(pid)
    return found


@pytest.mark.asyncio
async def test_only_some_are_kept_without_a_run_and_a_dead_one_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(environments, "MAX_IDLE", 1)
    sites = [install(tmp_path, name) for name in ("one", "two", "three")]
    async with asyncio.timeout(60), open_sandbox(scratch_root=tmp_path / "scratch", pool=0) as sandbox:
        await (await sandbox.open(Limits())).close()
        async with AsyncExitStack() as busy:
            for site in sites:
                process = await sandbox.open(Limits(), site)
                busy.push_async_callback(process.close)
            assert sandbox.kept_environments == 3
        process = await sandbox.open(Limits(), sites[0])
        assert sandbox.kept_environments == 1
        await process.close()
        before = zygotes()
        for pid in before:
            with suppress(ProcessLookupError):  # the end of one that is not kept may have come meanwhile
                os.kill(pid, signal.SIGKILL)
        process = await sandbox.open(Limits(), sites[0])
        assert process.alive
        await process.close()


def test_guests_of_another_user_get_a_copy_that_they_may_read(tmp_path: Path):
    site = install(tmp_path, "one")
    folder = Folder(tmp_path / "scratch")
    try:
        shared = folder.share(site)
        assert folder.share(site) == shared
        assert (shared / "one.py").read_text() == "NAME = 'one'\n"
        assert all(path.stat().st_mode & 0o004 for path in (shared, *shared.parents) if path.is_relative_to(shared))
    finally:
        folder.remove()
    assert not folder.path.exists()
