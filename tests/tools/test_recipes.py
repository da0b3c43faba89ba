from pathlib import Path

import pytest

from stepwell.tools import open_toolbox
from stepwell.tools.recipe_files import RecipeError, parse_recipes

GOOD = "command: cat\nrecipes: {default: {}}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: must be a mapping"),
        ("- a", "line 1: must be a mapping"),
        ("command: cat\nrecipes: {a: {}", "line 2: no valid YAML"),
        ("command: cat\n\tx: 1", "line 2: no valid YAML"),
        ("command: cat", "recipes is missing"),
        ("command: cat\nrecipes: {}", "line 2: recipes"),
        ("recipes: {a: {}}", "command is missing"),
        ("comand: cat\nrecipes: {a: {}}", 'line 1: comand: unknown key (did you mean "command"?)'),
        ("command: cat\ncommand: dog\nrecipes: {a: {}}", "line 2: command is given twice"),
        ("command: cat\nrecipes:\n  a:\n    taks: [x]", 'line 4: recipes.a.taks: unknown key (did you mean "takes"'),
        ("command: cat\narguments: {url: {}}\nrecipes:\n  a:\n    takes:\n    - ulr", "line 6: no argument 'ulr' (did"),
        ("command: cat\nrecipes: {a: {presets: {x: 1}}}", "line 2: no argument 'x'"),
        ("command: cat\narguments: {x: {}}\nrecipes: {a: {takes: [x], presets: {x: a}}}", "both preset and taken"),
        ("command: cat\narguments: {x: {required: true}}\nrecipes:\n  a: {}", "line 4: the recipe a neither takes"),
        ("tool: call\n" + GOOD, "line 1: tool: 'call' is taken"),
        ("command: cat\narguments: {x: {type: integer}}\nrecipes:\n  a:\n    presets:\n      x: one", "line 6: the preset x"),
        ("command: cat\narguments:\n  x:\n    choices: [a]\n    default: b\nrecipes: {a: {}}", "line 5: the default of x"),
        ("command: cat\narguments: {x: {repeat: true, default: b}}\nrecipes: {a: {}}", "must be a list"),
        ("command: cat\narguments: {x: {type: integer, choices: ['1']}}\nrecipes: {a: {}}", "choices go with type"),
        ("command: cat\nrecipes: {List: {}}", "lower-case Python name"),
        ("command: cat\nrecipes: {search: {}}", "any other name than call, kind, list, name, search, start"),
        ("tool: a.b\n" + GOOD, "line 1: tool: 'a.b' must be"),
        ("command: cat\narguments:\n  x:\n    type: strng\nrecipes: {a: {}}", 'line 4: arguments.x.type must be one'),
        ("command: cat\narguments: {x: {option: x}}\nrecipes: {a: {}}", "line 2: arguments.x.option"),
        ("command: cat\narguments: {x: {type: boolean}}\nrecipes: {a: {}}", "a boolean needs an option"),
        ("command: cat\narguments: {x: {pattern: '['}}\nrecipes: {a: {}}", "no regular expression"),
        ("command: cat\narguments: {x: {resolve_option: --r}}\nrecipes: {a: {}}", "goes with type url"),
        ('command: cat\nfixed: ["a\\0"]\nrecipes: {a: {}}', "line 2: fixed[0]"),
        ("command: cat\nfixed: [yes]\nrecipes: {a: {}}", "line 2: fixed[0] must be string, not True"),
        ("command: cat\ntimeout_s: 0\nrecipes: {a: {}}", "line 2: timeout_s must be greater than 0"),
        ("command: cat\ndirectory: here\nrecipes: {a: {}}", "line 2: directory"),
        ("a: &x [1]\nb: *x\n", "no valid YAML: anchors and aliases"),
        ("command: !!python/object/apply:os.system [id]\n", "no valid YAML"),
        ("a: " + "[" * 5000 + "]" * 5000, "no valid YAML"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line(text: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipes(text, "x.yaml", "x")
    assert said in str(caught.value)
    assert str(caught.value).startswith("x.yaml:")


def test_all_mistakes_are_named_in_the_order_of_the_file() -> None:
    text = "comand: cat\nrecipes:\n  a: {reed_only: true}\n  b: {takes: 3}\n"
    with pytest.raises(RecipeError) as caught:
        parse_recipes(text, "x.yaml", "x")
    lines = str(caught.value).splitlines()
    assert [line.split(":")[1] for line in lines] == [" line 1", " line 1", " line 3", " line 4"]


@pytest.mark.asyncio
async def test_a_wrong_file_is_a_problem_and_the_rest_works(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "wrong.yaml").write_text("command: cat\nrecipe: {}\n")
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "long.yaml").write_text("#" * 300_000)
    (tmp_path / "_draft.yaml").write_text("nonsense")
    (tmp_path / "curl.yaml").write_text(GOOD)
    (tmp_path / "http.yaml").write_text(GOOD)
    async with open_toolbox(tmp_path) as box:
        assert box.find_tool("good") is not None
        assert box.find_tool("curl.get") is not None
        problems = "\n".join(box.problems)
    assert "wrong.yaml: line 2: recipe: unknown key" in problems
    assert "curl.yaml: the name curl is taken" in problems
    assert "http.yaml: the name http is taken" in problems
    for name in ("binary.yml", "folder.yaml", "long.yaml"):
        assert name in problems
    assert "_draft" not in problems


@pytest.mark.asyncio
async def test_a_missing_folder_is_no_problem(tmp_path: Path) -> None:
    async with open_toolbox(tmp_path / "none") as box:
        assert box.problems == ()
