"""Names, versions and bounds; the block that declares them."""

import pytest

from packages.wheels import source
from stepwell.catalog.analysis import analyse
from stepwell.errors import ConfigError, InvalidSource
from stepwell.model.requirements import read_requirement
from stepwell_server.settings import parse_settings


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("NumPy >= 2, < 3", "numpy>=2,<3"),
        ("a.b_c--d", "a-b-c-d"),
        ("pandas[Excel,aws] (>=2)", "pandas[aws,excel]>=2"),
        (
            "six; python_version >= '3.11' and os_name == \"posix\"",
            'six; python_version >= "3.11" and os_name == "posix"',
        ),
    ],
)
def test_a_requirement_is_read(text: str, read: str) -> None:
    assert str(read_requirement(text)) == read


@pytest.mark.parametrize(
    "text",
    [
        "six @ file:///tmp/six.whl", "https://example.org/six.whl", "git+ssh://x/y", "-e .", "--index-url=x", "six --pre",
        "six ; x --hash=sha256:00", "six\n--index-url=x", "six>=", "six>=1 # x", "", "six[--x]", "./six", "six;" + "a" * 400,
        "six; " + "(" * 200,
    ],
)  # fmt: skip
def test_what_is_no_name_with_bounds_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"numpy>=2|condition|longer"):
        read_requirement(text)


@pytest.mark.parametrize(
    ("block", "problem", "line"),
    [
        ('# dependencies = ["six"\n# ///', "no valid TOML", 1),
        ('# dependencies = ["six"]', "does not end", 1),
        ('# dependencies = "six"\n# ///', "no list of texts", 1),
        ('# dependencies = ["six @ https://x/y"]\n# ///', "names a place", 1),
        ('# requires-python = "3.11 or so"\n# ///', "requires-python", 1),
        ("# ///\n\n# /// script\n# ///", "second", 4),
    ],
)
def test_a_block_that_cannot_be_read_is_an_error_with_its_line(block: str, problem: str, line: int) -> None:
    with pytest.raises(InvalidSource, match=problem) as caught:
        analyse(f"# /// script\n{block}\ndef run():\n    return 1\n", name="x")
    assert caught.value.line == line
    assert 'dependencies = ["numpy>=2"]' in caught.value.hint


def test_a_version_says_what_it_declares_and_an_index_that_it_names_is_not_looked_at() -> None:
    text = source("def run():\n    return 1\n", "Six>=1", head='# requires-python = ">=3.11"\n')
    text = text.replace("\n# ///\n", '\n#\n# [[tool.uv.index]]\n# url = "http://127.0.0.1"\n# ///\n', 1)
    manifest = analyse(text, name="x").manifest
    assert (manifest["dependencies"], manifest["requires_python"]) == (["Six>=1"], ">=3.11")


def test_a_mistake_in_the_configuration_is_named_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r"line 2: .*six @ x"):
        parse_settings('[packages]\nallow = ["six @ x"]\n')
    with pytest.raises(ConfigError, match=r"line 3: .*max_mib"):
        parse_settings('[packages]\nallow = ["six"]\nmax_mib = 0\n')
    assert parse_settings('[packages]\nallow = ["Six>=1"]\n').packages.policy().allow[0].name == "six"
