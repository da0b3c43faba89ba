import dataclasses
from pathlib import Path

import pytest

from stepwell.errors import ConfigError
from stepwell.ports import Limits
from stepwell.tools import DoubtRule
from stepwell_server.settings import Settings, load_settings, parse_settings

FULL = """
[http]
allow_hosts = ["api.github.com", "*.example.org"]
allow_private = true

[policy]
tools = {"*" = "approve", "github.*" = "allow", "shell.*" = "deny"}
approvals = "person"

[limits]
cpu_s = 5
wall_s = 30

[sandbox]
minimum = "A"
pool = 0

[workers]
concurrency = 2

[in_doubt]
"github.get_*" = "retry"
"shop.*" = { ask_s = 3600 }
"""


def test_a_missing_file_and_an_empty_one_give_the_defaults(tmp_path: Path) -> None:
    settings = load_settings(tmp_path / "stepwell.toml")
    assert settings == Settings() == parse_settings("")
    assert settings.limits == Limits()
    assert settings.http.allow_hosts == ()
    assert settings.http.allow_private is False
    assert settings.policy.approvals == "any"
    assert settings.workers.concurrency == 8


def test_every_section_is_read(tmp_path: Path) -> None:
    path = tmp_path / "stepwell.toml"
    path.write_text(FULL)
    settings = load_settings(path)
    assert settings.http.allow_hosts == ("api.github.com", "*.example.org")
    assert settings.http.allow_private
    assert list(settings.policy.tools.items()) == [("*", "approve"), ("github.*", "allow"), ("shell.*", "deny")]
    assert settings.policy.approvals == "person"
    assert settings.limits == Limits(cpu_s=5, wall_s=30.0)
    assert (settings.sandbox.minimum, settings.sandbox.pool) == ("A", 0)
    assert settings.workers.concurrency == 2
    assert settings.in_doubt == {"github.get_*": DoubtRule("retry"), "shop.*": DoubtRule("ask", 3600.0)}
    assert settings.model_dump(mode="json")["limits"] == dataclasses.asdict(settings.limits)


BOUND = "[secrets.B]\nenv = 'B'\ntools = ['pay.*']\nhosts = ['a.org']\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[http]\n\nalow_hosts = []", 'line 3: http.alow_hosts: unknown key (did you mean "allow_hosts"?)'),
        ("[htpp]", 'line 1: htpp: unknown key (did you mean "http"?)'),
        ("x = 1", "line 1: x: unknown key (known: "),
        ("[http]\nallow_hosts = 'a.org'", "line 2: http.allow_hosts must be"),
        ("[http]\nallow_hosts = [\n  'a.org', # ]\n  'https://b.org/',\n]", "line 4: http.allow_hosts[1]: "),
        ("[http]\nallow_hosts = ['a.org:80']", "without scheme or port"),
        ("[http]\nallow_private = 'yes'", "line 2: http.allow_private must be boolean, not 'yes'"),
        ("[http]\nallow_private = 1", "line 2: http.allow_private must be boolean, not 1"),
        ("http = 3", "line 1: http must be a table"),
        ("[policy]\ntools = { a = 'allow', b = 'alow' }", 'line 2: policy.tools.b must be one of "allow", "appr'),
        ("[policy.tools]\na = 'allow'\n\n'b.*' = 'no'", 'line 4: policy.tools."b.*" must be'),
        ('[policy.tools]\n"\\u0061.*" = "no"', 'line 2: policy.tools."a.*" must be'),
        ("policy.tools.a = 'no'", "line 1: policy.tools.a must be"),
        ("[policy]\napprovals = 'persn'", '(did you mean "person"?)'),
        ("[policy.tools]\n'a b' = 'allow'", "no pattern of tool names"),
        ("[limits]\nmemory = 1", 'line 2: limits.memory: unknown key (did you mean "memory_bytes"?)'),
        ("[limits]\ncpu_s = 0", "line 2: limits.cpu_s must be greater than 0"),
        ("[limits]\ncpu_s = 1.5", "line 2: limits.cpu_s must be integer"),
        ("[limits]\nwall_s = inf", "line 2: limits.wall_s must be less than"),
        ("[limits]\nwall_s = nan", "line 2: limits.wall_s must be"),
        ("[limits]\nmemory_bytes = 'much'", 'line 2: limits.memory_bytes: "much" is no size; write "256 MiB"'),
        ("[limits]\nmemory_bytes = 5", "line 2: limits.memory_bytes must be greater than or equal to 67108864"),
        ("[limits]\nframe_bytes = '8 MiB'", "line 2: limits.frame_bytes must be less than or equal to 4194304"),
        ("[workers]\nmemory_bytes = '1 MiB'", "line 2: workers.memory_bytes must be greater than"),
        ("limits = [1]", "line 1: limits must be a table"),
        ("[sandbox]\nminimum = 'D'", "line 2: sandbox.minimum must be one of"),
        ("[sandbox]\npool = -1", "line 2: sandbox.pool must be"),
        ("[workers]\nconcurrency = true", "line 2: workers.concurrency must be integer, not True"),
        ("[workers]\nconcurrency = 1979-05-27", "line 2: workers.concurrency must be"),
        ("[in_doubt]\n'a' = 'always'", 'line 2: in_doubt.a: write "ask", "retry", "fail", or { ask_s = '),
        ("[in_doubt]\n'a' = { ask_s = 0 }", "line 2: in_doubt.a: write"),
        ("[in_doubt.a]\nask_s = 5\nfail = 1", "in_doubt.a: write"),
        ("a = '''\n[http]\nx = 1\n'''\n[policy]\ny = 1", "line 6: policy.y: unknown key"),
        ("[secrets.A]\nenv = 'A'", "line 1: secrets.A: say where it may go"),
        ("[secrets.A]\ntools = ['*']", "line 1: secrets.A: give one of env, keyring, file and command"),
        ("[secrets.A]\nenv = 'A'\nfile = 'a'\ntools = ['*']", "line 1: secrets.A: give one of"),
        ("[secrets.A]\nenv = 'A'\ntool = ['*']", 'line 3: secrets.A.tool: unknown key'),
        ("[secrets.A]\nenv = 'A'\nhosts = ['https://a.org']", "line 3: secrets.A.hosts[0]: "),
        ("[secrets.A]\ncommand = []\ntools = ['*']", "line 2: secrets.A.command"),
        ("[secrets.A]\nkeyring = 'a'\ntools = ['*']", "line 2: secrets.A.keyring must be a table"),
        ("[secrets.'a-b']\nenv = 'A'\ntools = ['*']", '"a-b" is no name of a secret'),
        (
            "[mcp_servers.m]\ncommand = 'x'\nenv = {A = '{{secret:B}}'}",
            "line 3: mcp_servers.m.env.A: there is no secret B",
        ),
        (
            "[mcp_servers.'my m'.env]\nA = 'x {{secret:B}}'\n[mcp_servers.'my m']\ncommand = 'x'\n" + BOUND,
            'line 2: mcp_servers."my m".env.A: the secret B may go to pay.* only; in [secrets.B], tools = ["my_m.*"]',
        ),
        (
            "[openapi.pay]\ndocument = 'd'\nbase_url = 'https://b.org'\nauth = {k = '{{secret:B}}'}\n" + BOUND,
            "line 4: openapi.pay.auth.k: the secret B may go to a.org only, not to b.org; [secrets.B] names its hosts",
        ),
        (
            "[mcp_servers.pay]\ncommand = 'x'\nenv = {A = '{{secret:B}}'}\n" + BOUND,
            "the secret B may go to a.org only, and this one does not tell where it goes; in [secrets.B], tools",
        ),
        ("[mcp_servers.m]\ncommand = 'x'\nargs = [\n'{{secret:B}}']", "line 4: mcp_servers.m.args.0: a secret"),
        ("[policy.workflows.'a b']\ntools = {}", '"a b" is no workflow'),
        ("[policy.workflows.a]\ntools = {b = 'persons'}", "line 2: policy.workflows.a.tools.b must be one of"),
        ("[policy.limits]\nfetch = {rate = '5 per second'}", "line 2: policy.limits.fetch.rate: write a whole"),
        ("[policy.limits]\nfetch = {concurrency = 0}", "line 2: policy.limits.fetch.concurrency must be"),
        ("[policy]\nuse_within = 'soon'", "line 2: policy.use_within"),
        ("[http]\nunlisted = 'allow'", 'line 2: http.unlisted must be one of "ask", "deny"'),
        ("[[http]]\nallow_private = true", "line 1: http must be a table"),
        ("[http]\nx = \"\"\"a\"\"\"\"\ny = 'z'", "line 3: http.y: unknown key"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings(text)
    assert said in caught.value.message


def test_all_mistakes_are_named_at_once_in_the_order_of_the_file() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_settings("[workers]\nconcurrency = 0\n[secrets.x]\n[limits]\ncpu_s = 'x'\nwals = 1\n[http]\na = 1")
    lines = [line.split(": ")[1] for line in caught.value.message.splitlines()]
    assert lines == ["line 2", "line 3", "line 5", "line 6", "line 8"]


@pytest.mark.parametrize("text", ["[http", "a = ", "a = 1\na = 2", "a = " + "[" * 5000 + "]" * 5000])
def test_what_is_no_toml_is_said_so(text: str) -> None:
    with pytest.raises(ConfigError, match="no valid TOML"):
        parse_settings(text)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"a = 1\nb = '\xff'")
    with pytest.raises(ConfigError, match=r"binary\.toml: line 2: not UTF-8"):
        load_settings(tmp_path / "binary.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ConfigError, match=r"folder\.toml cannot be read"):
        load_settings(tmp_path / "folder.toml")
    (tmp_path / "long.toml").write_text("#" * 2_000_000)
    with pytest.raises(ConfigError, match="longer than"):
        load_settings(tmp_path / "long.toml")
