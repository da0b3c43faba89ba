"""What all commands share: options, help, errors; and `doctor`, `config`, `version`."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from cli.processes import COMMAND, Stepwell
from cli.sources import GATE, GREET

COMMANDS = [
    "serve", "run", "create", "list", "get", "search", "delete", "export", "import", "pin", "unpin", "runs", "show", "approve", "reject",
    "answer", "resume", "cancel", "emit", "artifacts", "models", "doctor", "setup", "config", "version",
]  # fmt: skip
HEAVY = {"mcp", "uvicorn", "httpx", "starlette", "pydantic", "rich", "aiosqlite", "jsonschema"}


def test_help_lists_every_command_and_loads_nothing_heavy(stepwell: Stepwell) -> None:
    code = "import sys; from stepwell_server.cli import main; main(['--help']); print(sorted(sys.modules))"

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert all(f"\n  {command} " in shown for command in COMMANDS)
    assert not HEAVY & set(eval(shown.splitlines()[-1]))


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, stepwell_server; print(sorted(sys.modules)); from stepwell_server import Session; print(Session)"
    )

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert not HEAVY & set(eval(shown.splitlines()[0]))
    assert "Session" in shown.splitlines()[1]


def test_a_command_without_a_run_loads_no_client_and_no_server(stepwell: Stepwell) -> None:
    code = "import sys; from stepwell_server.cli import main; main(['list']); print(sorted(sys.modules))"

    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=stepwell.environment
    ).stdout

    later = {"httpcore", "httpx", "httpx2", "jsonschema", "mcp", "packaging", "rich", "starlette", "uvicorn", "yaml"}
    assert not later & set(eval(shown.splitlines()[-1]))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(stepwell: Stepwell, command: str) -> None:
    done = stepwell.here(command, "--help")

    assert done.code == 0
    assert "--home" in done.out
    assert "--output" in done.out


def test_home_and_output_stand_before_or_after_the_command(stepwell: Stepwell, tmp_path: Path) -> None:
    stepwell.create("greet", GREET)
    home = str(stepwell.home)
    elsewhere = {"STEPWELL_HOME": str(tmp_path / "elsewhere")}

    before = stepwell("--home", home, "--output", "json", "list", env=elsewhere)
    after = stepwell("list", "--home", home, "--output", "json", env=elsewhere)

    assert before.data == after.data
    assert len(before.data["workflows"]) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lst"], "Did you mean list?"),
        (["list", "--limit", "0"], "--limit"),
        (["list", "--limit", "many"], "--limit"),
        (["list", "extra"], "extra"),
        (["list", "--tagg", "x"], "--tag"),
        (["get"], "NAME"),
        (["setup", "emacs"], "claude-desktop"),
        (["serve", "--http", "nowhere"], "HOST:PORT"),
        (["serve", "--http", "localhost:99999"], "HOST:PORT"),
        (["approve", "x" * 100_000], "no run"),
        (["show", "\x1b[2J"], "no run"),
        (["list", "--output", "xml"], "json"),
        (["emit", "e", "--json", "{"], "no JSON"),
        (["create", "/nowhere/x.py"], "cannot be read"),
        (["create", "-"], "--name"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong_and_where_help_is(
    stepwell: Stepwell, words: list[str], said: str
) -> None:
    done = stepwell.here(*words)

    assert done.code == 2
    assert said in done.err
    assert len(done.err) < 2000
    assert not {"\x1b", "Traceback"} & {done.err, *done.err}
    assert done.out == ""


def test_no_command_shows_the_help(stepwell: Stepwell) -> None:
    done = stepwell()

    assert done.code == 2
    assert "Commands:" in done.err


def test_a_home_that_cannot_be_used_is_told(stepwell: Stepwell) -> None:
    stepwell.home.write_text("a file")

    done = stepwell("list")

    assert done.code == 1
    assert "is not a directory" in done.err


def test_an_unforeseen_error_is_short_and_its_traceback_is_kept(stepwell: Stepwell) -> None:
    stepwell.create("greet", GREET)
    connection = sqlite3.connect(stepwell.home / "stepwell.db")
    connection.execute("UPDATE versions SET analysis = '[]'")
    connection.commit()
    connection.close()

    done = stepwell("list", "--output", "json")

    error = done.data["error"]
    assert (done.code, error["code"]) == (1, "internal")
    assert "Traceback" not in done.err
    log = Path(error["hint"].removeprefix("The traceback is in ").removesuffix("."))
    assert log.parent == stepwell.home / "logs"
    assert "Traceback" in log.read_text()


def test_a_reader_that_goes_away_ends_the_command_quietly(stepwell: Stepwell) -> None:
    stepwell.create("greet", GREET)

    process = subprocess.Popen(
        [*COMMAND, "get", "greet"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=stepwell.environment
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr as stderr:
        shown = stderr.read()
    process.wait()

    assert shown == b""


def test_doctor_tells_what_works(stepwell: Stepwell) -> None:
    new = stepwell.json("doctor")
    stepwell.create("greet", GREET)
    used = stepwell.json("doctor")

    assert (new["ok"], new["verdict"]) == (True, "Ready.")
    names = {check["name"] for check in used["checks"]}
    assert {
        "versions",
        "home",
        "configuration",
        "store",
        "servers",
        "sandbox",
        "sandbox layer",
        "tools",
        "curl",
    } <= names
    store = next(check for check in used["checks"] if check["name"] == "store")
    assert store["details"]["schema"] >= 1
    assert not (stepwell.home.parent / "elsewhere").exists()


def test_doctor_names_the_sources_of_tools_that_cannot_be_used(stepwell: Stepwell) -> None:
    stepwell.home.mkdir()
    raw = Path(__file__).parent.parent / "support" / "raw_server.py"
    (stepwell.home / "one.py").write_text(
        "from stepwell.host_tools import tool\nprint('loading')\n@tool\ndef one() -> int: return 1\n"
    )
    (stepwell.home / "stops.py").write_text("raise SystemExit(3)\n")
    (stepwell.home / "stepwell.toml").write_text(
        f"""
        [mcp_servers.raw]
        command = "{sys.executable}"
        args = ["-I", "-S", "{raw}"]
        [mcp_servers."my gone"]
        command = "stepwell-no-such-program"
        [mcp_servers.off]
        command = "stepwell-no-such-program"
        disabled = true
        [openapi.shop]
        document = "absent.json"
        [python.one]
        file = "one.py"
        [python.stops]
        file = "stops.py"
        [secrets]
        GIVEN = {{command = ["echo", "a value that is secret"], tools = ["*"]}}
        UNSET = {{env = "STEPWELL_NO_SUCH_VARIABLE", tools = ["*"]}}
        ABSENT = {{file = "no such file", tools = ["*"]}}
        FAILING = {{command = ["sh", "-c", "echo a value that is secret; exit 3"], tools = ["*"]}}
        SHORT = {{command = ["echo", "tiny"], tools = ["*"]}}
        """
    )

    examined = stepwell("doctor", "--output", "json")
    report = examined.data

    assert report["ok"]  # workflows run without them
    found = [check for check in report["checks"] if check["name"] == "tools"][1:]
    said = {check["details"]["section"]: check for check in found if "section" in check["details"]}
    assert {section: check["verdict"] for section, check in said.items()} == {
        "mcp_servers.raw": "ok",
        'mcp_servers."my gone"': "warn",
        "openapi.shop": "warn",
        "python.one": "ok",
        "python.stops": "warn",
    }
    secrets = {"".join(check["details"]["names"]): check for check in report["checks"] if check["name"] == "secrets"}
    assert {name: check["verdict"] for name, check in secrets.items()} == {
        "GIVEN": "ok", "UNSET": "warn", "ABSENT": "warn", "FAILING": "warn", "SHORT": "warn",
    }  # fmt: skip
    for name, why in (("UNSET", "NO_SUCH_VARIABLE is not set"), ("ABSENT", "cannot be read: No such file"),
                      ("FAILING", "exit code 3"), ("SHORT", "fewer than 6 characters")):  # fmt: skip
        assert why in secrets[name]["text"]
        assert f"Mend [secrets.{name}]" in secrets[name]["mend"]
    assert "a value that" not in examined.out + examined.err
    assert "tiny" not in examined.out + examined.err
    assert "1 tool in tools.one" in said["python.one"]["text"]
    assert "stepwell-no-such-program" in said['mcp_servers."my gone"']["text"]
    assert '[mcp_servers."my gone"] in ' in said['mcp_servers."my gone"']["mend"]
    assert "absent.json" in said["openapi.shop"]["text"]
    assert "not tried, since disabled: [mcp_servers.off]" in [check["text"] for check in found]


def test_doctor_and_config_check_name_the_mistakes(stepwell: Stepwell) -> None:
    stepwell.home.mkdir()
    (stepwell.home / "stepwell.toml").write_text("[http]\nallow_host = []\n")

    examined = stepwell("doctor")
    checked = stepwell("config", "check", "--output", "json")

    assert examined.code == 1
    assert "Not ready: configuration" in examined.out
    assert checked.code == 1
    assert "line 2" in checked.data["error"]["message"]
    assert "allow_hosts" in checked.data["error"]["message"]

    (stepwell.home / "stepwell.toml").write_text('[http]\nallow_hosts = ["a.example"]\n')
    assert stepwell.json("config", "check")["settings"]["http"]["allow_hosts"] == ["a.example"]


def test_version_is_printed(stepwell: Stepwell) -> None:
    told = stepwell.json("version")

    assert set(told) == {"stepwell", "python", "platform"}
    shown = stepwell.here("--version")
    assert (shown.code, shown.out) == (0, f"stepwell {told['stepwell']}\n")


def test_commands_leave_no_process_and_no_worker_behind(stepwell: Stepwell) -> None:
    stepwell.create("gate", GATE)

    assert stepwell("run", "gate").code == 3

    connection = sqlite3.connect(stepwell.home / "stepwell.db")
    assert connection.execute("SELECT count(*) FROM workers").fetchone() == (0,)
    connection.close()
    assert list((stepwell.home / "workers").iterdir()) == []
