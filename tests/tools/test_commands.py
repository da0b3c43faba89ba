import asyncio
import os
from contextlib import suppress
from pathlib import Path
from textwrap import dedent

import pytest

from stepwell.errors import ToolFailure
from stepwell.tools import NetworkPolicy, OutcomeUnknown, ToolRules, open_toolbox
from tools.loopback import call

pytestmark = pytest.mark.asyncio

SHOW = 'for word; do printf "<%s>" "$word"; done'
BLOCK = 'exec 3>"$1"; echo up >&3; sleep 1000 & sleep 1000'


def is_there(path: str) -> bool:
    return Path(path).exists()


def write_tool(folder: Path, script: str, recipe: str, name: str = "show") -> None:
    program = folder / f"{name}.sh"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    (folder / f"{name}.yaml").write_text(f"command: ./{name}.sh\n" + dedent(recipe))


WORDS = """
    fixed: [--first]
    arguments:
      mode: {option: --mode, choices: [fast, slow]}
      name: {option: -n, style: separate}
      loose: {option: -l, style: separate, dash: allow}
      verbose: {type: boolean, option: --verbose}
      count: {type: integer, option: --count, minimum: 1, maximum: 9, default: 2}
      tag: {option: --tag, repeat: true}
      file: {description: What to show.}
    recipes:
      all: {takes: [file, mode, name, loose, verbose, count, tag], read_only: true}
      preset: {fixed: [go], takes: [file], presets: {mode: slow, tag: [a, b]}}
      default: {takes: [file]}
"""


async def test_arguments_become_words_in_the_order_of_the_file(tmp_path: Path) -> None:
    write_tool(tmp_path, SHOW, WORDS)
    async with open_toolbox(tmp_path) as box:
        assert box.problems == ()
        assert [spec.name for spec in box.list_tools() if spec.name.startswith("show")] == [
            "show", "show.all", "show.preset",
        ]  # fmt: skip
        full = await call(box, "show.all", "f", mode="fast", name="n", verbose=True, tag=["x", "y"])
        assert full == "<--first><--mode=fast><-n><n><--verbose><--count=2><--tag=x><--tag=y><--><f>"
        assert await call(box, "show.preset", "f") == "<--first><go><--mode=slow><--tag=a><--tag=b><--><f>"
        assert await call(box, "show") == "<--first>"


@pytest.mark.parametrize(
    "value", ["-rf", "--help", "-", "a b", "a\nb", "*", "$HOME", "$(id)", ";id", "'", '"', "\\", ""]
)
async def test_values_stay_one_word_and_never_become_options(tmp_path: Path, value: str) -> None:
    write_tool(tmp_path, SHOW, WORDS)
    async with open_toolbox(tmp_path) as box:
        assert await call(box, "show", value) == f"<--first><--><{value}>"
        assert await call(box, "show.all", loose=value, tag=[value]) == (
            f"<--first><-l><{value}><--count=2><--tag={value}>"
        )
        if value.startswith("-"):
            with pytest.raises(ToolFailure, match="must not begin with '-'"):
                await call(box, "show.all", name=value)


async def test_without_dashes_a_positional_that_looks_like_an_option_is_refused(tmp_path: Path) -> None:
    write_tool(tmp_path, SHOW, "dashes: false\narguments: {a: {}}\nrecipes: {default: {takes: [a]}}")
    async with open_toolbox(tmp_path) as box:
        assert await call(box, "show", "x-") == "<x->"
        with pytest.raises(ToolFailure, match="must not begin with '-'"):
            await call(box, "show", "-x")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"mode": "fsat"}, "did you mean 'fast'"),
        ({"count": 10}, "<= 9"),
        ({"count": "3"}, "must be int, got str"),
        ({"verbose": 1}, "must be bool, got int"),
        ({"tag": "x"}, "must be list, got str"),
        ({"file": "a\0b"}, "NUL"),
        ({"file": "x" * 200_000}, "too long"),
        ({"file": "\ud800"}, "cannot be sent"),
        ({"fiel": "x"}, "did you mean 'file'"),
    ],
)
async def test_arguments_that_do_not_fit_are_refused(tmp_path: Path, arguments: dict[str, object], said: str) -> None:
    write_tool(tmp_path, SHOW, WORDS)
    async with open_toolbox(tmp_path) as box:
        with pytest.raises(ToolFailure, match=said) as caught:
            await call(box, "show.all", **arguments)
    assert caught.value.code == "invalid_arguments"
    assert len(caught.value.message) <= 2000


async def test_a_preset_cannot_be_changed(tmp_path: Path) -> None:
    write_tool(tmp_path, SHOW, WORDS)
    async with open_toolbox(tmp_path) as box:
        with pytest.raises(ToolFailure, match="has no argument 'mode'"):
            await call(box, "show.preset", mode="fast")


async def test_the_environment_is_clean_and_the_directory_fresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "secret")
    monkeypatch.setenv("WANTED", "yes")
    write_tool(tmp_path, "env; pwd; ls -A; echo x >file", "environment: [WANTED]\nrecipes: {default: {}}")
    async with open_toolbox(tmp_path) as box:
        first, second = await call(box, "show"), await call(box, "show")
    lines = first.splitlines()
    assert "WANTED=yes" in lines
    assert not any("TOKEN" in line for line in lines)
    directory = lines[-1]
    assert f"HOME={directory}" in lines
    assert directory != second.splitlines()[-1]
    assert not is_there(directory)


async def test_input_and_json_output(tmp_path: Path) -> None:
    recipe = "arguments: {data: {type: json, stdin: true}}\nrecipes: {default: {takes: [data], returns: json}}"
    write_tool(tmp_path, "cat", recipe)
    write_tool(tmp_path, "echo NaN", "recipes: {default: {returns: json}}", name="broken")
    async with open_toolbox(tmp_path) as box:
        assert await call(box, "show", {"a": [1, None, "ü"]}) == {"a": [1, None, "ü"]}
        with pytest.raises(ToolFailure, match="no valid JSON"):
            await call(box, "broken")


async def test_a_command_that_does_not_read_its_input_ends(tmp_path: Path) -> None:
    recipe = "arguments: {data: {stdin: true}}\nrecipes: {default: {takes: [data]}}"
    write_tool(tmp_path, "echo done", recipe)
    async with open_toolbox(tmp_path) as box:
        assert await call(box, "show", "x" * 1_000_000) == "done\n"


async def test_a_failure_has_the_end_of_the_error_output_and_the_beginning_of_the_output(tmp_path: Path) -> None:
    script = "echo out; i=0; while [ $i -lt 2000 ]; do echo noise >&2; i=$((i+1)); done; echo why >&2; exit 3"
    write_tool(tmp_path, script, "recipes: {default: {}}")
    write_tool(tmp_path, "echo partial; exit 4", "success: [0, 4]\nrecipes: {default: {}}", name="partial")
    async with open_toolbox(tmp_path) as box:
        with pytest.raises(ToolFailure, match=r"exit 3: (?s:.*)why: out") as caught:
            await call(box, "show")
        assert (caught.value.code, caught.value.retryable) == ("command_failed", False)
        assert len(caught.value.message) <= 2000
        assert await call(box, "partial") == "partial\n"


async def test_exit_rules_say_what_a_code_means(tmp_path: Path) -> None:
    rules = """
        arguments: {n: {type: integer}}
        exits: {3: {code: busy, retryable: true}, 4: {retryable_if: again}, 5: {unknown: true}}
        recipes: {default: {takes: [n]}, reading: {takes: [n], read_only: true}}
    """
    write_tool(tmp_path, 'echo "again $2" >&2; exit "$2"', rules)
    async with open_toolbox(tmp_path) as box:
        with pytest.raises(ToolFailure) as busy:
            await call(box, "show", 3)
        with pytest.raises(ToolFailure) as again:
            await call(box, "show", 4)
        with pytest.raises(OutcomeUnknown):
            await call(box, "show", 5)
        with pytest.raises(ToolFailure):
            await call(box, "show.reading", 5)
    assert (busy.value.code, busy.value.retryable) == ("busy", True)
    assert (again.value.code, again.value.retryable) == ("command_failed", True)


async def test_a_command_ended_by_a_signal_is_unknown_unless_it_only_reads(tmp_path: Path) -> None:
    write_tool(tmp_path, "kill -9 $$", "recipes: {default: {}, reading: {read_only: true}}")
    async with open_toolbox(tmp_path) as box:
        with pytest.raises(OutcomeUnknown, match="SIGKILL"):
            await call(box, "show")
        with pytest.raises(ToolFailure, match="SIGKILL"):
            await call(box, "show.reading")


async def test_output_limits_name_the_limit_and_let_a_command_with_effects_end(tmp_path: Path) -> None:
    marker = tmp_path / "ended"
    recipe = f"output_bytes: 1000\nfixed: [{marker}]\nrecipes: {{default: {{}}, reading: {{read_only: true}}}}"
    write_tool(tmp_path, 'head -c 300000 /dev/zero; echo x >"$1"', recipe)
    endless = "output_bytes: 1000\nrecipes: {default: {read_only: true}}"
    write_tool(tmp_path, "while :; do echo xxxxxxxx; done", endless, name="endless")
    async with open_toolbox(tmp_path) as box:
        with pytest.raises(ToolFailure, match="longer than 1000 bytes") as caught:
            await call(box, "show")
        assert caught.value.code == "too_large"
        assert marker.exists()
        with pytest.raises(ToolFailure, match="longer than 1000 bytes"):
            await call(box, "endless")


async def test_output_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    write_tool(tmp_path, r"printf 'a\000b'", "recipes: {default: {}}")
    async with open_toolbox(tmp_path) as box:
        with pytest.raises(ToolFailure, match="not text") as caught:
            await call(box, "show")
    assert caught.value.code == "binary"


class Watched:
    """A FIFO that a command and its descendants hold open; it ends when the last of them is gone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.reader = asyncio.StreamReader()
        os.mkfifo(path)

    async def __aenter__(self) -> "Watched":
        pipe = os.fdopen(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK), "rb", 0)
        protocol = asyncio.StreamReaderProtocol(self.reader)
        self.transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, pipe)
        return self

    async def started(self) -> None:
        async with asyncio.timeout(60):
            assert await self.reader.readline() == b"up\n"

    async def all_gone(self) -> None:
        # One more writer comes and goes: the command may have been stopped before it opened the FIFO.
        with suppress(OSError):  # no reader any more: the end was seen already
            os.close(os.open(self.path, os.O_WRONLY | os.O_NONBLOCK))
        async with asyncio.timeout(60):
            await self.reader.read()

    async def __aexit__(self, *_: object) -> None:
        self.transport.close()


@pytest.mark.parametrize("read_only", [True, False])
async def test_a_timeout_kills_the_whole_group(tmp_path: Path, read_only: bool) -> None:
    recipe = f"recipes: {{default: {{takes: [f], read_only: {str(read_only).lower()}}}}}"
    write_tool(tmp_path, BLOCK, f"timeout_s: 0.3\ndashes: false\narguments: {{f: {{}}}}\n{recipe}")
    async with Watched(tmp_path / "fifo") as watched, open_toolbox(tmp_path) as box:
        with pytest.raises(ToolFailure if read_only else OutcomeUnknown, match=r"did not end within 0\.3 s"):
            await call(box, "show", str(watched.path))
        await watched.all_gone()


async def test_a_cancelled_call_kills_the_whole_group(tmp_path: Path) -> None:
    write_tool(tmp_path, BLOCK, "dashes: false\narguments: {f: {}}\nrecipes: {default: {takes: [f]}}")
    async with Watched(tmp_path / "fifo") as watched, open_toolbox(tmp_path) as box:
        running = asyncio.ensure_future(call(box, "show", str(watched.path)))
        await watched.started()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await watched.all_gone()


async def test_what_a_command_leaves_in_the_background_is_killed_at_its_end(tmp_path: Path) -> None:
    script = 'exec 3>"$1"; echo up >&3; sleep 1000 & echo done'
    write_tool(tmp_path, script, "dashes: false\narguments: {f: {}}\nrecipes: {default: {takes: [f]}}")
    async with Watched(tmp_path / "fifo") as watched, open_toolbox(tmp_path) as box:
        assert await call(box, "show", str(watched.path)) == "done\n"
        await watched.all_gone()


async def test_a_command_that_is_not_installed_is_a_problem_and_calls_say_how_to_install_it(tmp_path: Path) -> None:
    (tmp_path / "gone.yaml").write_text("command: no-such-command\ninstall: apt-get install it\nrecipes: {default: {}}")
    async with open_toolbox(tmp_path) as box:
        assert len(box.problems) == 1
        assert "no-such-command is not installed. apt-get install it" in box.problems[0]
        with pytest.raises(ToolFailure, match="not installed on the host") as caught:
            await call(box, "gone")
    assert (caught.value.code, caught.value.hint) == ("not_installed", "apt-get install it")


async def test_urls_are_checked_before_a_command_starts(tmp_path: Path) -> None:
    write_tool(tmp_path, SHOW, "arguments: {u: {type: url, repeat: true}}\nrecipes: {default: {takes: [u]}}")
    async with open_toolbox(tmp_path, network=NetworkPolicy(("8.8.8.8", "127.0.0.1"))) as box:
        assert await call(box, "show", ["http://8.8.8.8"]) == "<--><http://8.8.8.8/>"
        for url in ("http://127.0.0.1/", "http://elsewhere.example/"):
            with pytest.raises(ToolFailure) as caught:
                await call(box, "show", ["http://8.8.8.8", url])
            assert caught.value.code == "not_allowed"


async def test_destructive_recipes_need_approval(tmp_path: Path) -> None:
    write_tool(tmp_path, SHOW, "recipes: {wipe: {destructive: true}, look: {read_only: true}, make: {}}")
    async with open_toolbox(tmp_path) as box:
        policies = {spec.name: spec.policy for spec in box.list_tools() if spec.name.startswith("show")}
    assert policies == {"show.wipe": "approve", "show.look": "allow", "show.make": "allow"}
    async with open_toolbox(tmp_path, rules=ToolRules({"show.*": "allow"})) as box:
        assert {spec.policy for spec in box.list_tools()} == {"allow"}
