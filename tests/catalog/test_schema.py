from typing import Any

import pytest
from jsonschema import Draft202012Validator

from catalog.sources import TYPES
from stepwell.catalog.analysis import analyse
from stepwell.errors import InvalidSource

IMPORTS = """
import collections.abc, datetime, decimal, pathlib, typing, uuid
import typing as t
from typing import *
from pathlib import Path
from typing import Optional as Opt
"""


def schema_of(hint: str, prelude: str = "") -> dict[str, Any]:
    version = analyse(f"{IMPORTS}\n{prelude}\ndef run(value: {hint}) -> None: ...", name="x")
    Draft202012Validator.check_schema(version.schema)
    return version.parameters[0].schema


STRING = {"type": "string"}
INTEGER = {"type": "integer"}
NULL = {"type": "null"}


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        ("str", STRING),
        ("int", INTEGER),
        ("float", {"type": "number"}),
        ("bool", {"type": "boolean"}),
        ("dict", {"type": "object"}),
        ("list", {"type": "array"}),
        ("tuple", {"type": "array"}),
        ("None", NULL),
        ("Any", {}),
        ("object", {}),
        ("'str'", STRING),
        ("'Optional[\"str\"]'", {"anyOf": [STRING, NULL]}),
        ("str | None", {"anyOf": [STRING, NULL]}),
        ("None | str | int", {"anyOf": [NULL, STRING, INTEGER]}),
        ("Optional[int]", {"anyOf": [INTEGER, NULL]}),
        ("Opt[int]", {"anyOf": [INTEGER, NULL]}),
        ("t.Optional[int]", {"anyOf": [INTEGER, NULL]}),
        ("Union[int, str, int]", {"anyOf": [INTEGER, STRING]}),
        ("Union[int, Union[str, None]]", {"anyOf": [INTEGER, STRING, NULL]}),
        ("Union[int, Any]", {}),
        ("Literal['a', 2, None]", {"enum": ["a", 2, None]}),
        ("Annotated[int, 'How deep']", INTEGER | {"description": "How deep"}),
        ("Annotated[int, Field(ge=1, le=9)]", INTEGER | {"minimum": 1, "maximum": 9}),
        ("Annotated[list[int], Field(max_length=9)]", {"type": "array", "items": INTEGER, "maxItems": 9}),
        ("list[str]", {"type": "array", "items": STRING}),
        ("List[str]", {"type": "array", "items": STRING}),
        ("collections.abc.Sequence[str]", {"type": "array", "items": STRING}),
        ("set[int]", {"type": "array", "items": INTEGER}),
        ("dict[str, int]", {"type": "object", "additionalProperties": INTEGER}),
        ("Mapping[str, Any]", {"type": "object"}),
        ("tuple[int, ...]", {"type": "array", "items": INTEGER}),
        ("tuple[int, str]", {"type": "array", "prefixItems": [INTEGER, STRING], "minItems": 2, "maxItems": 2}),
        ("tuple[()]", {"type": "array", "maxItems": 0}),
        ("datetime.datetime", STRING | {"format": "date-time"}),
        ("datetime.date", STRING | {"format": "date"}),
        ("uuid.UUID", STRING | {"format": "uuid"}),
        ("Path", STRING | {"format": "path"}),
        ("pathlib.Path", STRING | {"format": "path"}),
        ("bytes", STRING | {"format": "utf-8"}),
        ("decimal.Decimal", {"type": ["string", "number"], "format": "decimal"}),
    ],
)
def test_a_hint_becomes_a_schema(hint: str, expected: dict[str, Any]) -> None:
    assert schema_of(hint) == expected


@pytest.mark.parametrize(
    "hint",
    ["Callable[[int], str]", "Whatever", "foo()", "[int]", "1 + 2", "'not a type('", "Literal[f()]", "type[int]"],
)
def test_an_unknown_hint_accepts_anything_and_is_warned_of(hint: str) -> None:
    version = analyse(f"def run(value: {hint}) -> None: ...", name="x")
    assert version.parameters[0].schema == {}
    assert "unknown_type" in {item.code for item in version.warnings}


def test_a_hint_is_never_evaluated() -> None:
    version = analyse("def run(value: __import__('os').system('touch /tmp/never')) -> None: ...", name="x")
    assert version.parameters[0].schema == {}


@pytest.mark.parametrize(
    ("prelude", "hint", "definition"),
    [
        (
            "@dataclass\nclass P:\n    x: int\n    y: int = 0\n    z: ClassVar[int] = 1",
            "P",
            {
                "type": "object",
                "properties": {"x": INTEGER, "y": INTEGER | {"default": 0}},
                "required": ["x"],
                "additionalProperties": False,
            },
        ),
        (
            "class P(TypedDict, total=False):\n    x: Required[int]\n    y: str",
            "P",
            {"type": "object", "properties": {"x": INTEGER, "y": STRING}, "required": ["x"]},
        ),
        (
            "class Q(TypedDict):\n    x: int\nclass P(Q):\n    y: NotRequired[str]",
            "P",
            {"type": "object", "properties": {"x": INTEGER, "y": STRING}, "required": ["x"]},
        ),
        ("class P(str, Enum):\n    A = 'a'\n    B = 'b'", "P", {"enum": ["a", "b"]}),
        ("class P(IntEnum):\n    A = auto()\n    B = auto()", "P", {"enum": [1, 2]}),
        (
            "class P(BaseModel):\n    '''A person.'''\n    name: str = Field(..., min_length=1)\n    age: int = 3",
            "P",
            {
                "type": "object",
                "properties": {"name": STRING | {"minLength": 1}, "age": INTEGER | {"default": 3}},
                "required": ["name"],
                "description": "A person.",
            },
        ),
    ],
)
def test_a_class_of_the_module_becomes_a_definition(prelude: str, hint: str, definition: dict[str, Any]) -> None:
    version = analyse(f"{IMPORTS}\n{prelude}\ndef run(value: {hint}) -> None: ...", name="x")
    assert version.schema["$defs"] == {"P": definition}
    assert version.parameters[0].schema == {"$ref": "#/$defs/P"}


def test_aliases_are_followed_and_may_be_recursive() -> None:
    assert schema_of("Url", "Url = str") == STRING
    assert schema_of("Id", "Id = NewType('Id', int)") == INTEGER
    assert schema_of("Tree", "Tree: TypeAlias = 'list[Tree]'") == {"$ref": "#/$defs/Tree"}


def test_an_alias_of_itself_accepts_anything() -> None:
    version = analyse("A = Optional['B']\nB = Optional['A']\ndef run(a: A, b: B): ...", name="x")
    assert all(not definition for definition in version.schema["$defs"].values())


def test_aliases_that_multiply_stay_small() -> None:
    lines = [f"A{n} = tuple[A{n + 1}, A{n + 1}]" for n in range(60)]
    version = analyse("\n".join(lines) + "\nA60 = int\ndef run(value: A0) -> None: ...", name="x")
    assert len(str(version.schema)) < 20_000


def test_all_kinds_of_types_together_are_a_valid_schema() -> None:
    version = analyse(TYPES, name="all_types")
    Draft202012Validator.check_schema(version.schema)
    assert set(version.schema["$defs"]) == {"Node", "Color", "Options", "Json"}
    assert version.schema["required"] == ["tree", "when", "options", "extra"]
    assert version.parameters[5].default == [1, "x"]


def test_defaults_decide_what_is_required() -> None:
    version = analyse(
        "def run(a_one: str, b_two: dict = None, c_three: int = 2, d_four: list = make(), *, e_five: str): ...",
        name="x",
    )
    assert version.schema["required"] == ["a_one", "e_five"]
    properties = version.schema["properties"]
    assert properties["b_two"] == {"anyOf": [{"type": "object"}, NULL], "default": None}
    assert properties["c_three"] == {"type": "integer", "default": 2}
    assert properties["d_four"] == {"type": "array"}
    assert version.signature == "x(a_one: str, b_two: dict = None, c_three: int = 2, d_four: list = ..., e_five: str)"


def test_keyword_arguments_open_the_schema() -> None:
    assert analyse("def run(**rest): ...", name="x").schema["additionalProperties"] is True
    assert analyse("def run(rest: dict): ...", name="x").schema["additionalProperties"] is False


def test_a_parameter_without_hint_accepts_anything_with_a_warning() -> None:
    version = analyse("def run(amount): ...", name="x")
    assert version.parameters[0].schema == {}
    assert "missing_type_hint" in {item.code for item in version.warnings}


@pytest.mark.parametrize("parameters", ["*names", "url, /", "*ctx"])
def test_arguments_without_names_are_refused_with_a_hint(parameters: str) -> None:
    with pytest.raises(InvalidSource) as caught:
        analyse(f"def run({parameters}): ...", name="x")
    assert caught.value.hint


@pytest.mark.parametrize(
    "parameter",
    [
        "ctx",
        "wf",
        "wf: Workflow",
        "context: WorkflowContext",
        "context: 'WorkflowContext'",
        "context: Optional[WorkflowContext]",
        "context: 'Optional[stepwell.WorkflowContext]'",
        "context: WorkflowContext | None = None",
        "context: stepwell.Workflow",
    ],
)
@pytest.mark.parametrize("pattern", ["*, {0}, url: str", "*, url: str, {0}"])
def test_the_context_is_no_parameter_in_any_spelling_and_place(parameter: str, pattern: str) -> None:
    version = analyse(f"async def run({pattern.format(parameter)}) -> None: ...", name="x")
    assert [item.name for item in version.parameters] == ["url"]
    assert version.context_parameters == (parameter.partition(":")[0],)


def test_a_docstring_describes_parameters_and_result() -> None:
    source = '''
def run(url: str, limit: int = 3) -> dict:
    """Fetch it.

    Over several lines.

    Args:
        url (str): The address
            to fetch.
        limit: How many.

    Returns:
        What was
        found.
    """
'''
    version = analyse(source, name="x")
    assert version.description == "Fetch it."
    assert version.returns_description == "What was found."
    assert [item.description for item in version.parameters] == ["The address to fetch.", "How many."]
    assert version.schema["properties"]["limit"]["description"] == "How many."
