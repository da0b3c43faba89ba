"""Functions of the operator's own modules as tools."""

from dataclasses import replace
from pathlib import Path

import pytest

from stepwell.errors import ToolFailure
from stepwell.model import JsonObject
from stepwell.ports import Binary, KeyPlace
from stepwell.tools import OutcomeUnknown, ToolRules, open_toolbox, signature
from stepwell.tools.python import PythonModule
from tools.loopback import CONTEXT, call

MODULE = '''
import time
from dataclasses import dataclass
from typing import Literal

from stepwell import ToolError
from stepwell.host_tools import tool


@dataclass
class Box:
    width: int
    height: int = 1


@tool(read_only=True)
def area(box: Box, unit: Literal["m", "cm"] = "m") -> str:
    """Return the area of a box."""
    return f"{box.width * box.height} {unit}2"


@tool
async def pay(amount: int, idempotency_key: str) -> dict:
    """Pay."""
    return {"paid": amount, "key": idempotency_key}


@tool(name="import")
def load() -> bytes:
    return b"\\x00\\x01"


@tool
def fail(how: str) -> None:
    if how == "late":
        raise TimeoutError("of its own")
    if how == "known":
        raise ToolError("no money", code="broke", retryable=True)
    raise RuntimeError("oh\\x1b[31m")


@tool(timeout_s=0.05)
def slow() -> None:
    time.sleep(0.3)


@tool(read_only=True)
def odd() -> object:
    return object()


@tool
def wrong() -> dict[str, int]:
    return {"n": "many"}


def not_a_tool() -> None: ...
'''


@pytest.mark.asyncio
async def test_decorated_functions_are_tools(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(MODULE)
    async with open_toolbox(modules=[PythonModule("own", file=tmp_path / "own.py")]) as box:
        await box.prepare()
        specs = {spec.name: spec for spec in box.list_tools() if spec.name.startswith("own.")}
        assert set(specs) == {"own.area", "own.pay", "own.import_", "own.fail", "own.slow", "own.odd", "own.wrong"}
        assert signature(specs["own.pay"]) == "own.pay(amount: int) -> dict"
        assert (specs["own.area"].read_only, specs["own.pay"].idempotent) == (True, True)
        assert specs["own.area"].description == "Return the area of a box."
        assert await call(box, "own.area", box={"width": 3}) == "3 m2"
        assert await call(box, "own.pay", amount=5) == {"paid": 5, "key": CONTEXT.idempotency_key}

        async def save(binary: Binary) -> JsonObject:
            return {"size": len(binary.data)}

        assert await box.call(specs["own.import_"], {}, replace(CONTEXT, save=save)) == {"size": 2}
        with pytest.raises(OutcomeUnknown, match=r"no answer within 0\.05 s"):
            await call(box, "own.slow")


@pytest.mark.asyncio
async def test_errors_of_functions_are_errors_of_tools(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(MODULE)
    async with open_toolbox(modules=[PythonModule("own", file=tmp_path / "own.py")]) as box:
        await box.prepare()
        for name, arguments, code, retryable, said in (
            ("fail", {"how": "known"}, "broke", True, "own.fail: no money"),
            ("fail", {"how": "else"}, "tool_error", False, "own.fail: RuntimeError: oh[31m"),
            ("fail", {"how": "late"}, "tool_error", False, "own.fail: TimeoutError: of its own"),
            ("area", {"box": {"width": "x"}}, "invalid_arguments", False, "box.width must be int"),
            ("area", {"box": {"width": 1}, "unit": "km"}, "invalid_arguments", False, "unit must be one of"),
            ("odd", {}, "bad_answer", False, "its value is no JSON"),
            (
                "wrong",
                {},
                "bad_answer",
                False,
                "the call was made, and its result is not what the function declares: n: ",
            ),
        ):
            with pytest.raises(ToolFailure) as caught:
                await call(box, f"own.{name}", **arguments)
            assert (caught.value.code, caught.value.retryable) == (code, retryable)
            assert said in caught.value.message


@pytest.mark.asyncio
async def test_modules_that_cannot_be_loaded_are_named(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "none.py").write_text("x = 1")
    modules = [
        PythonModule("broken", file=tmp_path / "broken.py"),
        PythonModule("none", file=tmp_path / "none.py"),
        PythonModule("gone", module="no_such_module_anywhere"),
    ]
    async with open_toolbox(modules=modules) as box:
        await box.prepare()
        assert box.problems == (
            "python broken: ZeroDivisionError: division by zero",
            "python none: ValueError: it has no function with @tool of stepwell.host_tools",
            "python gone: ModuleNotFoundError: No module named 'no_such_module_anywhere'",
        )


@pytest.mark.asyncio
async def test_a_key_as_an_argument_is_not_the_workflows(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from stepwell.host_tools import tool\n@tool\ndef order(item: str, request_id: str) -> str:\n    return request_id\n"
    )
    rules = ToolRules(keys={"own.order": KeyPlace("argument", "request_id")})
    async with open_toolbox(modules=[PythonModule("own", file=tmp_path / "own.py")], rules=rules) as box:
        await box.prepare()
        spec = box.find_tool("own.order")
        assert spec is not None
        assert (signature(spec), spec.repeatable) == ("own.order(item: str) -> str", True)
        bound = box.bind(spec, [], {"item": "tea"})
        assert await box.call(spec, bound, CONTEXT) == CONTEXT.idempotency_key
        with pytest.raises(ToolFailure, match="has no argument 'request_id'"):
            box.bind(spec, [], {"item": "tea", "request_id": "mine"})
    # Where nothing would be sent, a call that is made again is a second order.
    for place in (KeyPlace("header", "Idempotency-Key"), KeyPlace("meta", "key"), KeyPlace("argument", "id")):
        async with open_toolbox(
            modules=[PythonModule("own", file=tmp_path / "own.py")], rules=ToolRules(keys={"own.*": place})
        ) as box:
            await box.prepare()
            spec = box.find_tool("own.order")
            assert spec is not None
            assert (spec.repeatable, spec.key_place) == (False, None)
            assert box.problems == ("[idempotency]: own.order cannot take the key there; such calls are not repeated",)
