import pytest

from stepwell.catalog.analysis import analyse
from stepwell.errors import InvalidSource


def entry_of(source: str, entry: str | None = None) -> tuple[str, str]:
    version = analyse(source, name="x", entry=entry)
    return version.entry, version.entry_kind


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def run(): ...", ("run", "function")),
        ("async def run(): ...", ("run", "function")),
        ("@workflow\nasync def report(ctx): ...", ("report", "function")),
        ("@workflow(name='other')\nasync def report(ctx): ...", ("report", "function")),
        ("import stepwell\n@stepwell.Workflow(durable=True)\nasync def report(wf): ...", ("report", "function")),
        ("from stepwell import workflow as w\n@w\ndef report(ctx): ...", ("report", "function")),
        ("pipeline = Workflow(name='p', steps=[])", ("pipeline", "workflow_object")),
        ("pipeline: Workflow = Workflow(name='p', steps=[])", ("pipeline", "workflow_object")),
        ("@workflow\ndef a(ctx): ...\n@workflow\ndef b(ctx): ...\ndef run(): ...", ("run", "function")),
        ("def helper(): ...\nclass A:\n    def run(self): ...\n@workflow\ndef main(ctx): ...", ("main", "function")),
    ],
)
def test_the_entry_is_run_then_the_one_decorated_function_or_object(source: str, expected: tuple[str, str]) -> None:
    assert entry_of(source) == expected


def test_several_candidates_are_listed_with_their_lines_and_one_can_be_chosen() -> None:
    source = "@workflow\ndef first(ctx): ...\n\npipeline = Workflow(name='p')\n"
    with pytest.raises(InvalidSource) as caught:
        analyse(source, name="x")
    assert "`first` (line 2), `pipeline` (line 4)" in caught.value.message
    assert "entry='first'" in caught.value.hint
    assert entry_of(source, "pipeline") == ("pipeline", "workflow_object")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("x = 1", "def run(url: str)"),
        ("def main(): ...", "entry='main'"),
        ("class A:\n    def run(self): ...", "Move it there"),
        ("if True:\n    def run(): ...", "Move it there"),
        ("run = lambda: 1", "def run(url: str)"),
    ],
)
def test_without_an_entry_the_error_shows_what_to_write(source: str, words: str) -> None:
    with pytest.raises(InvalidSource) as caught:
        analyse(source, name="x")
    assert words in caught.value.hint


def test_an_entry_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(InvalidSource) as caught:
        analyse("def fetch(): ...\ndef parse(): ...", name="x", entry="fetsh")
    assert "fetch" in caught.value.hint


def test_a_pipeline_takes_what_its_first_decorated_step_takes() -> None:
    source = (
        "wf = Workflow('article')\n"
        "@wf.step('research')\nasync def research(topic: str) -> str: ...\n"
        "@wf.step('draft', retries=3)\nasync def draft(text: str) -> str: ...\n"
    )
    version = analyse(source, name="article")
    assert version.signature == "article(topic: str) -> str"
    assert version.manifest["steps"] == ["research", "draft"]


def test_a_script_is_accepted_only_where_it_is_asked_for() -> None:
    with pytest.raises(InvalidSource):
        analyse("print(await tools.fetch(url='x'))", name="code")
    version = analyse("print(await tools.fetch(url='x'))", name="code", script=True)
    assert (version.entry_kind, version.entry, version.is_async) == ("script", "", True)
