"""What the catalogue promises, seen by an MCP client."""

from pathlib import Path
from typing import Any

import pytest

from mcp_clients import ADD, call, in_memory, over_stdio, refused

pytestmark = pytest.mark.asyncio


@pytest.mark.row("P1")
@pytest.mark.parametrize("keyword", ["def", "async def"])
async def test_a_module_with_run_is_a_workflow(tmp_path: Path, keyword: str) -> None:
    async with in_memory(tmp_path, "auto") as client:
        await call(client, "create_workflow", name="double", source=f"{keyword} run(value: int):\n    return value * 2")
        assert (await call(client, "invoke_workflow", name="double", arguments={"value": 4}))["output"] == 8
        error = await refused(client, "create_workflow", name="nothing", source="x = 1")
        assert (error["code"], "run" in error["hint"] + error["message"]) == ("invalid_source", True)
        assert (await call(client, "list_workflows"))["total"] == 1


@pytest.mark.row("P3")
async def test_the_description_is_the_given_one_else_the_modules_else_the_functions(tmp_path: Path) -> None:
    of_function = 'def run() -> int:\n    """From the function."""\n    return 1'
    of_module = f'"""From the module.\n\nMore."""\n{of_function}'
    async with in_memory(tmp_path, "auto") as client:
        await call(client, "create_workflow", name="one_function", source=of_function)
        await call(client, "create_workflow", name="one_module", source=of_module)
        await call(client, "create_workflow", name="one_given", source=of_module, description="Given at create.")
        shown = [(await call(client, "get_workflow", name=f"one_{kind}"))["description"] for kind in KINDS]
        assert shown == ["From the function.", "From the module.", "Given at create."]
        assert (await call(client, "search_workflows", query="given at create"))["workflows"][0]["name"] == "one_given"
        assert "list_workflows()" in (await call(client, "search_workflows", query=" "))["next"]


KINDS = ("function", "module", "given")


@pytest.mark.row("P4", "P5", "A5")
async def test_the_schema_comes_from_the_signature_and_the_docstring(tmp_path: Path) -> None:
    source = '''def run(user_email: str, count: int = 3, ratio: float = 0.5, deep: bool = False, tags: list = [],
        headers: dict = None, anything=None) -> dict:
    """Look a user up.

    Args:
        user_email: Whom to look up
        count: How many

    Returns:
        What was found
    """
    return {"email": user_email, "headers": headers}
'''
    async with in_memory(tmp_path, "auto") as client:
        await call(client, "create_workflow", name="look_up", source=source)
        shown = await call(client, "get_workflow", name="look_up")
        properties = shown["parameters"]["properties"]
        assert shown["parameters"]["required"] == ["user_email"]
        kinds = {name: properties[name].get("type") for name in ("user_email", "count", "ratio", "deep", "tags")}
        assert kinds == {
            "user_email": "string", "count": "integer", "ratio": "number", "deep": "boolean", "tags": "array",
        }  # fmt: skip
        assert properties["user_email"]["description"] == "Whom to look up"
        assert shown["returns_description"] == "What was found"

        error = await refused(client, "invoke_workflow", name="look_up", arguments={"count": 1})
        assert (error["code"], "user_email" in error["message"]) == ("invalid_arguments", True)
        assert (await call(client, "list_runs"))["runs"] == []
        run = await call(client, "invoke_workflow", name="look_up", arguments={"user_email": "a@b", "headers": None})
        assert run["output"] == {"email": "a@b", "headers": None}


@pytest.mark.row("P6", "P18")
async def test_handles_are_globals_and_no_parameters(tmp_path: Path) -> None:
    source = '''def run(who: str) -> dict:
    """Greet through another workflow, and keep the greeting."""
    greeting = workflows.greet(name=who)
    artifacts.save("greeting", greeting)
    return {"greeting": greeting, "tools": len(tools.list()) > 0}
'''
    async with in_memory(tmp_path, "auto") as client:
        await call(client, "create_workflow", name="greet", source='def run(name: str):\n    return f"Hello, {name}!"')
        created = await call(client, "create_workflow", name="greet_and_keep", source=source)
        assert list(created["parameters"]["properties"]) == ["who"]
        run = await call(client, "invoke_workflow", name="greet_and_keep", arguments={"who": "Bob"})
        assert run["output"] == {"greeting": "Hello, Bob!", "tools": True}
        kept = await call(client, "read_artifact", run_id=run["run_id"], name="greeting")
        assert "Hello, Bob!" in kept["text"]


@pytest.mark.row("P11")
@pytest.mark.parametrize(
    ("name", "source", "code"),
    [
        ("fine", "def run(:\n", "invalid_source"),
        ("fine", "", "invalid_source"),
        ("fine", "def other():\n    return 1", "invalid_source"),
        ("fine", "def run():\n    return '\0'", "invalid_source"),
        ("fine", "def run():\n    return " + "(" * 500 + ")" * 500, "invalid_source"),
        ("fine", "def run():\n    return 1\n" + "#" * 300_000, "invalid_source"),
        ("not an identifier", ADD, "invalid_name"),
        ("search", ADD, "invalid_name"),
        ("class", ADD, "invalid_name"),
        ("x" * 49, ADD, "invalid_name"),
        ("../../etc/passwd", ADD, "invalid_name"),
        ("naïve", ADD, "invalid_name"),
    ],
)
async def test_what_cannot_be_stored_is_refused_and_nothing_is(
    tmp_path: Path, name: str, source: str, code: str
) -> None:
    async with in_memory(tmp_path, "auto") as client:
        assert (await refused(client, "create_workflow", name=name, source=source))["code"] == code
        assert (await call(client, "list_workflows"))["workflows"] == []


@pytest.mark.row("P11")
async def test_create_returns_name_description_and_parameters(tmp_path: Path) -> None:
    async with in_memory(tmp_path, "auto") as client:
        created = await call(client, "create_workflow", name="add", source=ADD, intents=["sum up"], tags=["math"])
        assert (created["name"], created["description"]) == ("add", "Add two numbers.")
        assert list(created["parameters"]["properties"]) == ["left", "right"]
        assert (created["intents"], created["tags"]) == (["sum up"], ["math"])
        dry = await call(client, "create_workflow", name="add_more", source=ADD, dry_run=True)
        assert (dry["created"], dry["dry_run"]) == (False, True)
        assert (await call(client, "list_workflows"))["total"] == 1
        assert (await call(client, "list_workflows", tag="nothing"))["total"] == 0


@pytest.mark.row("P12", "A40")
async def test_creating_runs_nothing_of_the_source(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    source = f"open({str(mark)!r}, 'w').write('ran')\nraise RuntimeError('loaded')\ndef run():\n    return 1"
    async with in_memory(tmp_path / "home", "auto") as client:
        created = await call(client, "create_workflow", name="effects", source=source)
        assert "no_files" in {warning["code"] for warning in created["warnings"]}
        assert (await call(client, "get_workflow", name="effects"))["source"].startswith("open(")
        assert not mark.exists()


@pytest.mark.row("P13", "A2")
async def test_a_name_is_taken_once(tmp_path: Path) -> None:
    async with in_memory(tmp_path, "auto") as client:
        first = await call(client, "create_workflow", name="answer", source="def run():\n    return 1")
        error = await refused(client, "create_workflow", name="answer", source="def run():\n    return 2")
        assert (error["code"], "replace" in error["hint"]) == ("name_taken", True)
        assert (await call(client, "invoke_workflow", name="answer"))["output"] == 1
        replaced = await call(client, "create_workflow", name="answer", source="def run():\n    return 2", replace=True)
        assert replaced["replaced"].startswith(first["version"])
        assert (await call(client, "invoke_workflow", name="answer"))["output"] == 2
        old = await call(client, "get_workflow", name="answer", version=first["version"])
        assert "return 1" in old["source"]


@pytest.mark.row("P16")
async def test_an_unknown_name_suggests_near_ones(tmp_path: Path) -> None:
    async with in_memory(tmp_path, "auto") as client:
        await call(client, "create_workflow", name="fetch_json", source=ADD)
        for tool in ("get_workflow", "invoke_workflow", "delete_workflow", "run_workflow"):
            error = await refused(client, tool, name="fetch_jsn")
            assert (error["code"], "fetch_json" in error["hint"]) == ("not_found", True)


@pytest.mark.row("P17")
async def test_invoke_takes_a_parameter_called_name_and_refuses_wrong_ones(tmp_path: Path) -> None:
    source = 'def run(name: str = "World") -> str:\n    """Greet."""\n    return f"Hello, {name}!"'
    outer = 'def run() -> str:\n    """Greet Bob."""\n    return workflows.invoke("greet", name="Bob")'
    async with in_memory(tmp_path, "auto") as client:
        await call(client, "create_workflow", name="greet", source=source)
        await call(client, "create_workflow", name="greet_bob", source=outer)
        run = await call(client, "invoke_workflow", name="greet", arguments={"name": "Ada"})
        assert run["output"] == "Hello, Ada!"
        assert (await call(client, "invoke_workflow", name="greet_bob"))["output"] == "Hello, Bob!"
        assert (await refused(client, "invoke_workflow", name="unknown"))["code"] == "not_found"
        error = await refused(client, "invoke_workflow", name="greet", arguments={"nam": "x"})
        assert (error["code"], "nam" in error["message"]) == ("invalid_arguments", True)


@pytest.mark.row("P22")
async def test_quality_is_warned_of_and_never_refused(tmp_path: Path) -> None:
    bad = "def run(x, d):\n    try:\n        return 1\n    except:\n        return {}"
    async with in_memory(tmp_path, "auto") as client:
        created = await call(client, "create_workflow", name="sloppy", source=bad)
        codes = {warning["code"] for warning in created["warnings"]}
        assert {"missing_type_hint", "missing_docstring", "bare_except"} <= codes
        assert all(warning["message"] for warning in created["warnings"])
        assert (await call(client, "create_workflow", name="tidy", source=ADD))["warnings"] == []


@pytest.mark.row("P24", "P25")
async def test_delete_and_create_anew_leaves_runs_under_way_on_the_old_source(tmp_path: Path) -> None:
    old = '''"""Ask, then answer."""
from stepwell import WorkflowContext


async def run(ctx: WorkflowContext) -> str:
    await ctx.wait_for_user("Go on?")
    return "old"
'''
    async with over_stdio(tmp_path, "auto") as client:
        await call(client, "create_workflow", name="staged", source=old)
        waiting = await call(client, "invoke_workflow", name="staged")
        assert (await call(client, "delete_workflow", name="staged"))["deleted"] is True
        assert (await call(client, "search_workflows", query="staged"))["workflows"] == []
        assert (await refused(client, "delete_workflow", name="staged"))["code"] == "not_found"
        await call(client, "create_workflow", name="staged", source='def run() -> str:\n    return "new"')
        assert (await call(client, "invoke_workflow", name="staged"))["output"] == "new"
    async with over_stdio(tmp_path, "auto") as client:
        await call(client, "approve_run", run_id=waiting["run_id"], decision="answer", value="yes")
        run = await call(client, "get_run", run_id=waiting["run_id"], wait_seconds=45)
        assert (run["status"], run["output"]) == ("completed", "old")


@pytest.mark.row("A1", "A4")
@pytest.mark.parametrize(
    "parameters", ["ctx: WorkflowContext, email: str", "email: str, ctx: WorkflowContext", "email: str"]
)
async def test_a_decorated_function_is_the_entry_with_or_without_a_context(tmp_path: Path, parameters: str) -> None:
    source = f'''from stepwell import WorkflowContext, workflow


@workflow
async def welcome({parameters}) -> dict:
    """Welcome a user."""
    return {{"welcomed": email}}
'''
    async with in_memory(tmp_path, "auto") as client:
        created = await call(client, "create_workflow", name="welcome_user", source=source)
        assert created["parameters"]["required"] == ["email"]
        assert list(created["parameters"]["properties"]) == ["email"]
        run = await call(client, "invoke_workflow", name="welcome_user", arguments={"email": "a@b"})
        assert run["output"] == {"welcomed": "a@b"}


@pytest.mark.row("P32")
async def test_create_workflow_says_when_to_create_and_when_not(tmp_path: Path) -> None:
    async with in_memory(tmp_path, "auto") as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    text = tools["create_workflow"].description or ""
    for advice in ("need it again", "5 lines", "clear inputs and outputs", "one-off", "single tool call", "debugging"):
        assert advice in text
    assert "Search first" in text


async def test_code_that_was_run_once_can_be_kept(tmp_path: Path) -> None:
    async with in_memory(tmp_path, "auto") as client:
        run = await call(client, "run_code", code=ADD, arguments={"left": 1})
        assert run["output"] == {"sum": 2}
        created = await call(client, "create_workflow", name="add", from_run=run["run_id"])
        assert (created["origin"], created["warnings"]) == (f"run:{run['run_id']}", [])
        assert (await call(client, "invoke_workflow", name="add", arguments={"left": 5}))["output"] == {"sum": 6}
        both: dict[str, Any] = {"name": "both", "source": ADD, "from_run": run["run_id"]}
        assert (await refused(client, "create_workflow", **both))["code"] == "invalid_arguments"
        failed = await client.call_tool("run_code", {"code": '"""Divide."""\n1 / 0'})
        run_id = (failed.structured_content or {})["run_id"]
        kept = await call(client, "create_workflow", name="divide", from_run=run_id)
        [warning] = [warning for warning in kept["warnings"] if warning["code"] == "not_completed"]
        assert "is failed (ZeroDivisionError" in warning["message"]


async def test_files_of_the_home_are_offered_and_broken_ones_named(tmp_path: Path) -> None:
    async with in_memory(tmp_path, "auto") as client:
        (tmp_path / "workflows" / "shipped.py").write_text(ADD)
        (tmp_path / "workflows" / "broken.py").write_text("def run(:\n")
        listed = await call(client, "list_workflows")
        assert [item["name"] for item in listed["workflows"]] == ["shipped"]
        assert [problem["file"] for problem in listed["problems"]] == ["broken.py"]
        assert (await call(client, "invoke_workflow", name="shipped", arguments={"left": 1}))["output"] == {"sum": 2}
