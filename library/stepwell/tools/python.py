"""Functions of the operator's own modules as tools; see `stepwell.host_tools`."""

import asyncio
import importlib
import importlib.util
import inspect
import sys
import threading
import typing
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter, ValidationError, create_model
from pydantic_core import PydanticSerializationError, to_jsonable_python

from stepwell.errors import ToolFailure
from stepwell.host_tools import ATTRIBUTE, Marked
from stepwell.model import Json, JsonObject
from stepwell.ports import Binary, CallContext, ToolSpec
from stepwell.sdk.exceptions import ToolError
from stepwell.tools.loaded import LoadedSource, NotLoaded
from stepwell.tools.messages import clean, failure, invalid
from stepwell.tools.sources import make_identifier
from stepwell.tools.tool import OutcomeUnknown, Tool

KEY = "idempotency_key"
LOAD_S = 60.0
_TITLE = "title"


@dataclass(frozen=True, slots=True)
class PythonModule:
    """A module with decorated functions, as the operator says: by its import name or by its file."""

    name: str
    module: str = ""
    file: Path | None = None


class PythonSource(LoadedSource):
    """The functions of one module, which is loaded in a thread."""

    def __init__(self, module: PythonModule, namespace: str) -> None:
        super().__init__(namespace, "python", module.name)
        self._module = module

    async def _load(self) -> tuple[Sequence[Tool], str]:
        try:
            async with asyncio.timeout(LOAD_S):
                return await _in_thread(lambda: _load_tools(self._module, self.name)), ""
        # The operator's own code: whatever is wrong with it is told to them.
        except (Exception, SystemExit) as error:
            raise NotLoaded(f"{type(error).__name__}: {error}") from error


class FunctionTool:
    """One decorated function."""

    def __init__(self, function: Callable[..., Any], marked: Marked, name: str) -> None:
        self._function = function
        self._marked = marked
        self._model = _arguments_model(function)
        self._keyed = KEY in inspect.signature(function).parameters
        self._result = _result_check(function)
        schema = self._model.model_json_schema()
        self.spec = ToolSpec(
            name=name,
            description=clean(inspect.getdoc(function) or "", 4000),
            schema=_without_titles(schema) | {"additionalProperties": False},
            returns=_returned(function),
            read_only=marked.read_only,
            idempotent=(marked.idempotent or self._keyed) and not marked.read_only,
            destructive=marked.destructive and not marked.read_only,
            origin=clean(f"Python function {function.__module__}.{function.__qualname__}", 200),
        )

    def check(self, arguments: JsonObject) -> None:
        """Refuse nothing beside what the schema does: what the types say more is looked at in the call."""

    def hosts(self, arguments: JsonObject) -> tuple[str, ...]:
        """Return none: the function is the operator's own."""
        return ()

    async def call(self, spec: ToolSpec, arguments: JsonObject, context: CallContext) -> Json:
        """Call it; bytes that it returns are kept as an artifact."""
        given = self._read(arguments) | ({KEY: context.idempotency_key} if self._keyed else {})
        limit = asyncio.timeout(self._marked.timeout_s)
        try:
            async with limit:
                if inspect.iscoroutinefunction(self._function):
                    value = await asyncio.to_thread(self._plain, await self._function(**given))
                else:
                    value = await asyncio.to_thread(lambda: self._plain(self._function(**given)))
            if isinstance(value, bytes) and context.save is not None:
                value = await context.save(Binary(value, "application/octet-stream"))
            return to_jsonable_python(value) if isinstance(value, bytes) else value
        except ToolError as error:
            raise failure(spec.name, f"{spec.name}: {error}", code=error.code, retryable=error.retryable) from error
        except _Misfit as error:
            message = f"{spec.name}: the call was made, and its result is not what the function declares: {error}"
            raise failure(spec.name, message, code="bad_answer") from error
        except ToolFailure:  # of what keeps its bytes
            raise
        except PydanticSerializationError as error:
            raise failure(spec.name, f"{spec.name}: its value is no JSON: {error}", code="bad_answer") from error
        except (Exception, SystemExit) as error:
            if limit.expired():
                raise self._late(spec) from error
            raise failure(spec.name, f"{spec.name}: {type(error).__name__}: {error}", code="tool_error") from error

    def _late(self, spec: ToolSpec) -> OutcomeUnknown | ToolFailure:
        message = f"{spec.name}: no answer within {self._marked.timeout_s:g} s"
        if not spec.repeatable:
            return OutcomeUnknown(message)
        return failure(spec.name, message, code="timeout", retryable=True)

    def _plain(self, value: Any) -> Any:
        """Return the value as JSON, bytes as they are."""
        if self._result is not None:
            try:
                self._result.validate_python(value)
            except ValidationError as error:
                raise _Misfit(_first_mistake(error)) from error
        return value if isinstance(value, bytes) else to_jsonable_python(value)

    def _read(self, arguments: JsonObject) -> dict[str, Any]:
        try:
            read = self._model.model_validate(arguments)
        except ValidationError as error:
            raise invalid(self.spec.name, f"{self.spec.name}: {_first_mistake(error)}") from error
        return {name: getattr(read, name) for name in read.model_fields_set}


class _Misfit(Exception):
    """A result that is not what its function declares."""


def _first_mistake(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]


def _result_check(function: Callable[..., Any]) -> TypeAdapter[Any] | None:
    """Return what checks results against the function's own annotation; None where that says nothing to check."""
    hints = typing.get_type_hints(function, include_extras=True)
    try:
        return TypeAdapter(hints["return"]) if "return" in hints else None
    except PydanticUserError:  # a class that pydantic knows nothing of
        return None


async def _in_thread(load: Callable[[], list[Tool]]) -> list[Tool]:
    """Load in a thread that holds up nobody's end: a module may wait for ever."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[list[Tool]] = loop.create_future()

    def settle(tools: list[Tool], error: BaseException | None) -> None:
        if done.done():  # nobody waits any more
            return
        if error is None:
            done.set_result(tools)
        else:
            done.set_exception(error)

    def work() -> None:
        tools: list[Tool] = []
        failed: BaseException | None = None
        try:
            tools = load()
        except BaseException as error:  # noqa: BLE001  it is raised where the tools are waited for
            failed = error
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, tools, failed)

    threading.Thread(target=work, name="stepwell-python", daemon=True).start()
    return await done


def _load_tools(module: PythonModule, namespace: str) -> list[Tool]:
    loaded = _load_file(module.file) if module.file is not None else importlib.import_module(module.module)
    tools: list[Tool] = []
    taken: set[str] = set()
    for value in vars(loaded).values():
        marked = getattr(value, ATTRIBUTE, None)
        if isinstance(marked, Marked) and callable(value):
            name = make_identifier(marked.name, taken)
            taken.add(name)
            tools.append(FunctionTool(value, marked, f"{namespace}.{name}"))
    if not tools:
        raise ValueError("it has no function with @tool of stepwell.host_tools")
    return tools


def _load_file(file: Path) -> ModuleType:
    name = f"stepwell_host_{make_identifier(file.stem)}"
    found = importlib.util.spec_from_file_location(name, file)
    if found is None or found.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # where its types are looked for
    found.loader.exec_module(module)
    return module


def _arguments_model(function: Callable[..., Any]) -> type[BaseModel]:
    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"{function.__name__}: the parameter {name} cannot be given by name")
        if name != KEY:
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[name] = (hints.get(name, Any), default)
    return create_model(
        function.__name__, __config__=ConfigDict(extra="forbid", arbitrary_types_allowed=False), **fields
    )


def _returned(function: Callable[..., Any]) -> str:
    annotation = inspect.signature(function).return_annotation
    if annotation is inspect.Signature.empty:
        return "Any"
    return clean(annotation if isinstance(annotation, str) else inspect.formatannotation(annotation), 120)


def _without_titles(schema: JsonObject) -> JsonObject:
    made = {key: value for key, value in schema.items() if key != _TITLE}
    made["properties"] = {
        name: {key: value for key, value in found.items() if key != _TITLE}
        for name, found in schema.get("properties", {}).items()
    }
    return made
