"""Workflows with packages, from a folder of wheels: created, run, composed, resumed, restored."""

import asyncio
from pathlib import Path

import pytest

from packages.wheels import make_wheel, refusing_port, source
from stepwell.errors import NameTaken, PackageRefused, PackagesUnavailable
from stepwell.model import RunStatus
from stepwell.packages import Shelf
from stepwell_server import Session
from support.server import make_home

pytestmark = pytest.mark.slow  # the installer's start takes a second

GREETING = {
    "greeting/__init__.py": "import helper\n\ndef greet(name):\n    return f'{helper.WORD}, {name}!'\n",
    "json.py": "raise SystemExit('the wrong json')\n",
    "evil.pth": "import pathlib; pathlib.Path('{canary}').touch()\n",
    "sitecustomize.py": "import pathlib; pathlib.Path('{canary}').touch()\n",
}
HELPER = {"helper.py": "WORD = 'Hello'\n"}
CLOCKED = {
    "clocked.py": "import random, secrets, time\nAT = time.time()\nTOKEN = secrets.token_hex(8)\n"
    "own = random.Random()\nFIRST = own.random()\n"
}
GREET = source(
    "import greeting, json\n\ndef run(name: str) -> str:\n    return json.loads(json.dumps(greeting.greet(name)))\n",
    "greeting", "helper",
)  # fmt: skip


def fill(wheels: Path, canary: Path) -> None:
    files = {name: text.replace("{canary}", str(canary)) for name, text in GREETING.items()}
    make_wheel(wheels, "greeting", files, requires="helper")
    make_wheel(wheels, "helper", HELPER)
    make_wheel(wheels, "clocked", CLOCKED)


@pytest.mark.asyncio
async def test_each_run_has_the_packages_of_its_own_version_and_no_others(home: Path, wheels: Path, tmp_path: Path):
    fill(wheels, tmp_path / "canary")
    outer = '"""Ask."""\ndef run(name: str) -> list:\n    try:\n        import greeting\n    except ImportError:\n'
    outer += "        return ['none here', workflows.invoke('greet', name=name)]\n"
    inner = source(
        "import helper\ndef run(name: str) -> list:\n    return [helper.WORD, *workflows.invoke('outer', name=name)]\n",
        "helper",
    )
    async with Session(home) as session:
        made = await session.add_workflow("greet", GREET)
        await session.add_workflow("outer", outer)
        await session.add_workflow("inner", inner)
        assert made.warnings == ()
        run = await session.run("inner", name="Ada")
        assert (run.output, run.error) == (["Hello", "none here", "Hello, Ada!"], None)
        again = await session.add_workflow("greet", GREET)
        assert (again.created, again.workflow.version.lock) == (False, made.workflow.version.lock)
        code = await session.run_code(source("import helper\nhelper.WORD * 2\n", "helper"))
        assert (code.output, code.error) == ("HelloHello", None)
    lock = made.workflow.version.lock
    assert lock is not None
    assert [(file.name, file.version) for file in lock.files] == [("greeting", "1.0"), ("helper", "1.0")]
    assert len(Shelf(home / "environments").list()) == 2  # one for `greet`, one for `inner` and the code
    assert not (tmp_path / "canary").exists()


@pytest.mark.asyncio
async def test_what_a_package_reads_of_clock_and_chance_while_it_loads_is_the_same_on_a_replay(
    home: Path, wheels: Path
):
    fill(wheels, home / "canary")
    body = (
        "import clocked\n\ndef read():\n    return [clocked.AT, clocked.TOKEN, clocked.FIRST]\n\n"
        "def run(ctx):\n    ctx.step('keep', lambda x: x, read())\n    ctx.wait_for_user('?')\n    return read()\n"
    )
    async with Session(home) as session:
        await session.add_workflow("flow", source(body, "clocked"))
        runs = [await session.run("flow") for _ in range(2)]
    async with Session(home) as session:
        runs = [await session.answer(run.id, "go") for run in runs]
    for run in runs:
        assert run.error is None
        assert run.output == run.step_results["keep"]
    assert runs[0].output[1:] != runs[1].output[1:]


@pytest.mark.asyncio
async def test_what_is_not_allowed_or_not_to_be_had_is_an_error_at_create_and_nothing_is_stored(
    home: Path, wheels: Path, tmp_path: Path
):
    fill(wheels, tmp_path / "canary")
    make_wheel(wheels, "huge", {"huge.bin": "x" * 6 * 1024 * 1024})
    make_wheel(wheels, "greeting", {"greeting.py": ""}, version="2.0", requires="stranger")
    make_wheel(wheels, "stranger", {"stranger.py": ""})
    (wheels / "onlysource-1.0.tar.gz").write_bytes(b"never built")
    body = "def run() -> int:\n    return 1\n"
    refused = {
        source(body, "stranger"): ("stranger", 'allow = ["clocked", "greeting>=1", "helper", "onlysource", "huge", "stranger"]'),
        source(body, "greeting>=2"): ("stranger, which the workflow runs with", '"stranger"]'),
        source(body, "onlysource"): ("no wheels that fit", "Only wheels"),
        source(body, "helper>7"): ("no wheels that fit", "bounds"),
        source(body, "huge"): ("MiB", ""),
        source(body, "helper", head='# requires-python = ">=4"\n'): ("requires Python >=4", "requires-python"),
    }  # fmt: skip
    async with Session(home) as session:
        for text, (message, hint) in refused.items():
            with pytest.raises(PackageRefused) as caught:
                await session.add_workflow("flow", text)
            assert message in caught.value.message
            assert hint in caught.value.hint
            assert str(tmp_path) not in caught.value.message
        assert await session.list_workflows() == []
        await session.add_workflow("flow", f'"""One."""\n{body}')
        with pytest.raises(NameTaken):
            await session.add_workflow("flow", source(body, "helper"))
    assert Shelf(home / "environments").list() == []
    assert not list((home / "environments").glob(".new-*"))
    assert not (tmp_path / "canary").exists()


@pytest.mark.asyncio
async def test_nothing_is_installed_unless_the_operator_says_so(tmp_path: Path, wheels: Path):
    make_wheel(wheels, "helper", HELPER)
    make_wheel(wheels, "greeting", {"greeting.py": ""}, requires="helper")
    text = source("import greeting\ndef run() -> int:\n    return 1\n", "greeting")
    async with Session(tmp_path / "off") as session:
        with pytest.raises(PackageRefused, match="Not allowed by the operator"):
            await session.add_workflow("flow", text)
        assert (await session.run_code(text.replace("# /// script", "# plain"))).error is not None
    home = make_home(tmp_path / "on", '[packages]\nallow = ["greeting"]\ntransitive = true\n')
    async with Session(home) as session:
        await session.add_workflow("flow", text)
        assert (await session.run("flow")).output == 1
    make_home(tmp_path / "on", '[packages]\nallow = ["greeting<1"]\ntransitive = true\n')
    async with Session(home) as session:
        run = await session.run("flow")
    assert run.error is not None
    assert (run.error.code, "greeting<1" in run.error.message) == ("packages_missing", True)


@pytest.mark.asyncio
async def test_an_environment_that_is_gone_comes_back_from_the_lock_or_the_run_waits_for_somebody(
    home: Path, wheels: Path
):
    wheel = make_wheel(wheels, "helper", HELPER)
    honest = wheel.read_bytes()
    text = source("import helper\ndef run() -> str:\n    return helper.WORD\n", "helper")

    async def without_environment(session: Session) -> str:
        for item in Shelf(home / "environments").list():
            assert Shelf(home / "environments").remove(item.id, item.used_at + 60) > 0
        return (await session.run("flow")).id

    async with Session(home) as session:
        made = await session.add_workflow("flow", text)
        make_wheel(wheels, "helper", {"helper.py": "WORD = 'Evil'\n"})
        run = await session.get(await without_environment(session))
        assert run.status is RunStatus.FAILED, run.output
        assert run.error is not None
        assert (run.error.code, "lock" in run.error.message) == ("packages_missing", True)
        wheel.write_bytes(honest)
        make_wheel(wheels, "helper", {"helper.py": "WORD = 'Newer'\n"}, version="1.1")
        run = await session.resume(run.id)
        assert (run.output, run.error) == ("Hello", None)
        assert [item.id for item in Shelf(home / "environments").list()] == [made.workflow.version.lock.id]  # pyright: ignore[reportOptionalMemberAccess]
        newer = await session.add_workflow("flow", text + "# newer\n", replace=True)
        assert newer.workflow.version.lock.files[0].version == "1.1"  # pyright: ignore[reportOptionalMemberAccess]


@pytest.mark.asyncio
async def test_many_at_once_make_one_environment(home: Path, wheels: Path):
    make_wheel(wheels, "helper", HELPER)
    text = source("import helper\ndef run() -> str:\n    return helper.WORD\n", "helper")
    async with Session(home) as one, Session(home) as two:
        tasks = [session.add_workflow(f"flow{n}", text) for n, session in enumerate((one, two, one, two))]
        made = await asyncio.gather(*tasks)
        locks = {item.workflow.version.lock for item in made}
        assert len(locks) == 1
        outputs = await asyncio.gather(*(session.run(f"flow{n}") for n, session in enumerate((two, one, two, one))))
        assert [run.output for run in outputs] == ["Hello"] * 4
    assert len(Shelf(home / "environments").list()) == 1


@pytest.mark.asyncio
async def test_an_index_that_does_not_answer_is_the_hosts_fault(
    home: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("PIP_NO_INDEX")
    address = f"http://127.0.0.1:{refusing_port()}/simple"
    monkeypatch.setenv("PIP_INDEX_URL", address)
    (wheels.parent / "uv.toml").write_text(f'[[index]]\nurl = "{address}"\ndefault = true\n')
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("PIP_RETRIES", "1")
    async with Session(home) as session:
        with pytest.raises(PackagesUnavailable, match="cannot be reached") as caught:
            await session.add_workflow("flow", source("def run() -> int:\n    return 1\n", "helper"))
    assert "127.0.0.1" not in caught.value.message
