import pytest

from catalog.sources import FETCH, RESEARCH
from stepwell.catalog.analysis import MAX_WARNINGS, analyse
from stepwell.catalog.quality import is_cryptic
from stepwell.errors import InvalidSource


def codes(body: str, *, head: str = "") -> list[tuple[str, int | None]]:
    source = f'"""Do it."""\n{head}\nasync def run(url: str) -> None:\n{body}'
    return [(item.code, item.line) for item in analyse(source, name="x").warnings]


@pytest.mark.parametrize("source", [FETCH, RESEARCH])
def test_a_good_source_has_no_warnings(source: str) -> None:
    assert analyse(source, name="x").warnings == ()


@pytest.mark.parametrize(
    ("line", "code", "instead"),
    [
        ("import requests", "no_network", "tools.fetch(url=...)"),
        ("import httpx as h", "no_network", "tools.http.request"),
        ("from urllib import request", "no_network", "tools.fetch"),
        ("import urllib.request", "no_network", "tools.fetch"),
        ("import socket", "no_network", "tools.fetch"),
        ("import subprocess", "no_processes", "tools.<name>"),
        ("from multiprocessing import Pool", "no_threads", "ctx.parallel"),
        ("import threading", "no_threads", "ctx.parallel"),
        ("from concurrent.futures import ThreadPoolExecutor", "no_threads", "ctx.batch"),
        ("import pandas as pd", "missing_package", '["pandas"]'),
        ("import yaml", "missing_package", '["pyyaml"]'),
        ("from . import other", "missing_package", "workflows.invoke"),
        ("from agnt5 import workflow", "missing_package", "the same names from `stepwell.compat.agnt5`"),
        ("x = open('data.txt')", "no_files", "artifacts.save"),
        ("x = Path('data.txt').read_text()", "no_files", "artifacts.load"),
        ("x = os.environ['TOKEN']", "no_environment", "{{secret:NAME}}"),
        ("x = os.getenv('TOKEN')", "no_environment", "{{secret:NAME}}"),
        ("os.system('ls')", "no_processes", "command-line tool"),
        ("x = input('Name?')", "no_terminal", "ctx.wait_for_user"),
        ("time.sleep(3)", "blocking_sleep", "ctx.sleep"),
        ("await asyncio.gather(tools.a(x=1), tools.b(x=2))", "gather_of_tools", "ctx.parallel"),
        ("await asyncio.gather(*[tools.a(x=n) for n in y])", "gather_of_tools", "ctx.parallel"),
    ],
)
def test_what_would_fail_is_one_warning_with_its_replacement(line: str, code: str, instead: str) -> None:
    source = f'"""Do it."""\nasync def run(url: str) -> None:\n    {line}\n'
    warnings = analyse(source, name="x").warnings
    assert [(item.code, item.line) for item in warnings] == [(code, 3)]
    assert instead in warnings[0].message


@pytest.mark.parametrize(
    "line",
    [
        "import json, re, asyncio, urllib.parse, collections.abc",
        "from stepwell import tools",
        "try:\n        import yaml\n    except ImportError:\n        yaml = None",
        "await asyncio.gather(ctx.step(tools.a, x=1), agents.b('x'))",
        "await asyncio.sleep(1)",
        "x = session.get('open')",
        "try: ...\n    except ValueError: pass",
        "try: ...\n    except Exception as error:\n        raise RuntimeError('x') from error",
        "try: ...\n    except:\n        log()\n        raise",
    ],
)
def test_what_works_is_not_warned_of(line: str) -> None:
    assert codes(f"    {line}\n") == []


def test_imports_that_are_declared_as_dependencies_are_not_warned_of() -> None:
    head = '# /// script\n# dependencies = ["PyYAML>=6", "pandas"]\n# ///\nimport yaml, pandas\nimport numpy\n'
    source = head + '"""Do it."""\ndef run(url: str) -> None:\n    """Do it."""\n'
    version = analyse(source, name="x")
    assert [(item.code, item.line) for item in version.warnings] == [("missing_package", 5)]
    assert version.manifest["dependencies"] == ["PyYAML>=6", "pandas"]


@pytest.mark.parametrize("handler", ["except:", "except BaseException:", "except Exception:"])
def test_a_handler_that_hides_everything_is_warned_of(handler: str) -> None:
    assert codes(f"    try: ...\n    {handler}\n        pass\n") == [("bare_except", 5)]


def test_work_at_module_level_is_warned_of() -> None:
    assert codes("    ...", head="DATA = tools.fetch(url='x')\nhelper = tools.fetch") == [("work_at_import", 2)]
    assert codes("    ...", head="asyncio.run(run('x'))") == []  # the guest leaves that call out
    assert codes("    ...", head="fetch = lambda: tools.fetch(url='x')") == []


def test_a_decorated_workflow_without_context_is_told_how_to_take_it() -> None:
    source = '"""Do it."""\n@workflow\nasync def report(user_email: str) -> None: ...'
    warnings = analyse(source, name="x").warnings
    assert [item.code for item in warnings] == ["no_context"]
    assert "ctx: WorkflowContext" in warnings[0].message


def test_the_bad_example_of_the_standards_is_stored_with_warnings() -> None:
    warnings = analyse("async def run(u, timeout=30):\n    ...\n", name="x").warnings
    assert [item.code for item in warnings] == [
        "cryptic_name",
        "missing_docstring",
        "missing_type_hint",
        "missing_type_hint",
        "missing_type_hint",
    ]


@pytest.mark.parametrize("name", ["u", "q", "fn", "cfg", "lst_nmb", "x", "strng_lst"])
def test_cryptic_names(name: str) -> None:
    assert is_cryptic(name)


@pytest.mark.parametrize(
    "name",
    ["id", "to", "url", "sql", "html_text", "base_url", "by", "owner", "sync", "csv_path", "api_v2", "type", "key"],
)
def test_common_names_are_not_cryptic(name: str) -> None:
    assert not is_cryptic(name)


def test_coordinates_are_not_cryptic_together() -> None:
    assert not is_cryptic("x", beside=frozenset({"x", "y"}))


def test_warnings_are_bounded() -> None:
    body = "".join("    try: ...\n    except: pass\n" for _ in range(500))
    assert len(codes(body)) == MAX_WARNINGS


def test_the_manifest_names_tools_workflows_and_steps() -> None:
    version = analyse(RESEARCH, name="x")
    assert version.manifest == {"tools": ["curl.get"], "workflows": ["fetch_json"], "steps": ["research", "review"]}
    assert version.options == {"budget_usd": 1.0, "timeout": 3600, "pool": None, "requires": {"gpu": True}}


def test_the_manifest_follows_aliases_and_chains() -> None:
    body = """
    t.github.issues.create(title="x").strip()
    ctx.step(t.fetch, url="x")
    tools.list()
    t.github.list()
    t.github.search("issues")
    tools.call("curl.post", url="x")
    tools.call(name)
    workflows.greet(name="Bob")
    workflows.start("later")
    workflows.invoke(name)
    workflows.search("x")
    await ctx.step(load, "not a name")
"""
    source = f'"""Do it."""\nfrom stepwell import tools as t\nasync def run() -> None:\n{body}'
    manifest = analyse(source, name="x").manifest
    assert manifest == {
        "tools": ["github.issues.create", "fetch", "curl.post"],
        "workflows": ["greet", "later"],
        "steps": [],
    }


@pytest.mark.parametrize(
    ("line", "options", "warned"),
    [
        ("options = {'timeout': 3, 'tags': ('a', 'b')}", {"timeout": 3, "tags": ["a", "b"]}, False),
        ("options: dict = dict(timeout=3)", {"timeout": 3}, False),
        ("options = dict(requires=compute(), pool='gpu')", {"pool": "gpu"}, True),
        ("options = {**other}", {}, True),
        ("options = load()", {}, True),
        ("options = dict(a=b'x', b={1}, c=1e999, d=2**70, e=0x" + "f" * 5000 + ")", {}, True),
    ],
)
def test_options_are_read_as_literals(line: str, options: dict[str, object], warned: bool) -> None:
    version = analyse(f'"""Do it."""\n{line}\ndef run() -> None: ...', name="x")
    assert version.options == options
    assert bool(version.warnings) is warned


@pytest.mark.parametrize("given", ["1e999", "float('inf')", "float('nan')", "-1", "True", "2e6", "BUDGET", "'1'"])
@pytest.mark.parametrize("line", ["options = dict(budget_usd={})\n", "@Workflow(max_budget={})\n"])
def test_a_budget_that_is_no_amount_is_refused(line: str, given: str) -> None:
    with pytest.raises(InvalidSource) as refused:
        analyse(f"from stepwell import Workflow\n{line.format(given)}def run(wf): ...\n", name="x")

    assert "budget" in refused.value.message
    assert refused.value.line == 2


@pytest.mark.parametrize(
    ("body", "line"),
    [
        ("    agent('x')\n", 4),
        ("    agent.chat('x')\n", 4),
        ("    agents.writer('x')\n", 4),
        ("    ctx.step('a', len, 'x')\n", 4),
        (
            "    await agent('x')\n    y = agent('x')\n    agents.list()\n    ctx.log('x')\n    ctx.state.set('a', 1)\n",
            None,
        ),
        ("    def plain():\n        agent('x')\n", None),
    ],
)
def test_calls_that_nobody_awaits_are_warned_of(body: str, line: int | None) -> None:
    source = f'"""Do it."""\nagent = Agent("a")\nasync def run(ctx):\n{body}'

    found = [item.line for item in analyse(source, name="x").warnings if item.code == "not_awaited"]

    assert found == ([] if line is None else [line])
