import os
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from catalog.sources import FETCH, RESEARCH, TYPES
from stepwell.catalog.analysis import analyse
from stepwell.catalog.source import MAX_DEPTH, MAX_SOURCE_BYTES
from stepwell.errors import InvalidSource, RequestError

RUN = "def run() -> None:\n    '''Do it.'''\n"

HOSTILE = {
    "ten megabytes": "x" * 10_000_000,
    "too many bytes": "# é\n" * (MAX_SOURCE_BYTES // 4),
    "empty": "  \n\n",
    "only a comment": "# nothing\n",
    "nul": RUN + "x = '\0'",
    "half a surrogate": RUN + "x = '\ud800'",
    "open brackets": "x = " + "(" * 20_000,
    "ten thousand lists": "x = " + "[" * 10_000 + "]" * 10_000,
    "unary minus": "x = " + "-" * 20_000 + "1",
    "not": "x = " + "not " * 8_000 + "1",
    "sum": "x = 1" + " + 1" * 5_000,
    "sum over lines": "x = (1\n" + "+ 1\n" * 20_000 + ")",
    "attributes": "x = a" + ".b" * 10_000,
    "attributes over lines": "x = (a\n" + ".b\n" * 50_000 + ")",
    "calls": "x = a" + "()" * 10_000,
    "subscripts": "x = a" + "[0]" * 10_000,
    "lambdas": "x = " + "lambda:" * 4_000 + "1",
    "conditions": "x = " + "1 if 1 else " * 2_500 + "1",
    "elif": "if 1: pass\n" + "elif 1: pass\n" * 15_000,
    "indentation": "".join(" " * n + "if 1:\n" for n in range(150)),
    "dotted import": "import " + "a." * 10_000 + "a",
    "dotted import over lines": "import " + "a.\\\n" * 60_000 + "a",
    "keywords": "f(" + ",\n".join(f"a{n}=1" for n in range(25_000)) + ")",
    "digits": "x = " + "9" * 20_000,
    "long line": RUN + f"x = '{'x' * 100_000}'",
    "f-strings": "x = " + 'f"{' * 150 + "1" + '}"' * 150,
    "spaces": " " * 200_000,
    "fences": "```\n" + "`" * 200_000,
    "unclosed": "def run(:",
    "return outside": RUN + "return 1",
    "stray character": RUN + "x = 1 \u2028 2",
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_source_is_refused_with_words(source: str) -> None:
    with pytest.raises(InvalidSource) as caught:
        analyse(source, name="x")
    assert caught.value.message
    assert caught.value.hint
    assert len(caught.value.message) < 500


def test_a_syntax_error_shows_line_text_and_what_to_do() -> None:
    with pytest.raises(InvalidSource) as caught:
        analyse(RUN + "    value = 1 +\n", name="x")
    assert caught.value.line == 3
    assert "`value = 1 +`" in caught.value.message
    assert "line 3" in caught.value.hint
    assert caught.value.describe()["line"] == 3


@pytest.mark.parametrize(
    "source",
    [
        f"```python\n{RUN}```",
        f"```\n{RUN}\n```\n\n",
        f"\n  ~~~py\n{RUN}~~~",
        f"```python\n{RUN}",
        RUN.replace("\n", "\r\n"),
        RUN.replace("\n", "\r"),
        "\ufeff" + RUN,
        "\n\n" + RUN + "\n\n",
        "".join("    " + line + "\n" for line in RUN.splitlines()),
    ],
)
def test_fences_indentation_and_line_ends_are_cleaned(source: str) -> None:
    assert analyse(source, name="x").hash == analyse(RUN, name="x").hash


def test_text_inside_strings_is_left_alone() -> None:
    source = RUN + '    return """a\n   \n```\n  b  \n"""\n'
    assert analyse(source, name="x").source == source


def test_the_hash_depends_on_source_and_entry_only() -> None:
    source = RUN + "def other() -> None: ...\n"
    first = analyse(source, name="first")
    assert analyse(source, name="second").hash == first.hash
    assert analyse(source, name="first", entry="other").hash != first.hash
    assert analyse(source + "\nx = 1", name="first").hash != first.hash


def test_nesting_up_to_the_limit_is_read() -> None:
    source = RUN + "x = " + " + ".join(["1"] * (MAX_DEPTH - 10)) + "\n"
    assert analyse(source, name="x").entry == "run"


def test_reading_executes_nothing(tmp_path: Path) -> None:
    target = tmp_path / "executed"
    effect = f"__import__('pathlib').Path({str(target)!r}).touch()"
    source = (
        f"{effect}\nclass A(metaclass={effect} or type):\n    {effect}\n"
        f"@{effect.replace('__import__', 'str and __import__')}\n"
        f"def run(value: {effect} = {effect}) -> {effect}: ...\noptions = dict(x={effect})\n"
    )
    analyse(source, name="x", entry="run")
    assert not target.exists()


def test_invisible_characters_are_warned_of() -> None:
    warnings = analyse(RUN + "x = '\u202e'\n", name="x").warnings
    assert [(item.code, item.line) for item in warnings] == [("hidden_character", 3)]


def test_what_the_compiler_warns_of_is_passed_on() -> None:
    warnings = analyse(RUN + "x = '\\d'\n", name="x").warnings
    assert [(item.code, item.line) for item in warnings] == [("syntax_warning", 3)]


def test_unicode_identifiers_are_read_as_python_reads_them() -> None:
    assert analyse("def \uff52\uff55\uff4e(größe: int) -> int: ...", name="x").signature == "x(größe: int) -> int"


def test_text_that_no_store_takes_does_not_leave_the_analysis() -> None:
    half = "?" if sys.version_info >= (3, 13) else "\\ud800"  # which since then Python refuses in a docstring
    source = f'def run(mode: str = "\\ud800") -> None:\n    """Do{half} it.\\x00"""\n    ctx.step("a\\udfff")\n'
    version = analyse(source, name="x")
    repr(version).encode()
    assert version.description == "Do? it."
    assert not version.parameters[0].has_default
    assert version.manifest["steps"] == ["a?"]


@pytest.mark.parametrize("seed", range(4))
def test_any_mutation_of_a_source_is_read_or_refused(seed: int) -> None:
    rng = random.Random(seed)
    alphabet = "()[]{}:,.'\"\\\n\t @*-=|abc0\u00e9\u2028\ud800\0`#"
    words = [
        "def ",
        "class ",
        "lambda:",
        "async ",
        "await ",
        "*",
        "**",
        "/",
        '"""',
        "```",
        "Optional[",
        "run",
        "@workflow\n",
    ]
    for _ in range(150):
        source = rng.choice([FETCH, RESEARCH, TYPES])
        for _ in range(rng.randint(1, 6)):
            start = rng.randrange(len(source))
            end = min(len(source), start + rng.choice([0, 0, 1, 3, 40]))
            inserted = rng.choice(
                ["", rng.choice(alphabet), rng.choice(words), source[start:end] * 3, rng.choice(alphabet) * 300]
            )
            source = source[:start] + inserted + source[end:]
        with suppress(RequestError):
            analyse(source, name="x")


def test_deep_sources_do_not_bring_the_process_down_when_its_stack_is_used_already() -> None:
    program = (
        "import sys\nfrom stepwell.catalog.analysis import analyse\nfrom stepwell.errors import InvalidSource\n"
        "def down(n, source):\n"
        "    if n: return down(n - 1, source)\n"
        "    try: analyse(source, name='x')\n"
        "    except InvalidSource: return 'refused'\n"
        "    return 'read'\n"
        "deep = 'x = ' + '-' * 20000 + '1'\n"
        "nested = 'def run(): ...\\nx = ' + '[' * 150 + ']' * 150\n"
        "print(down(10, deep), down(600, deep), down(600, nested))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False, env=dict(os.environ)
    )
    assert (done.returncode, done.stdout.split()[:2]) == (0, ["refused", "refused"]), done.stderr
