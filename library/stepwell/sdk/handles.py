"""`tools`, `workflows` and `artifacts`: what a workflow reaches outside of its process.

Every call is journalled. In async code these block too and return values, so that `tools.x()` and
`await tools.x()` both work; `ctx.step(tools.x, ...)` runs beside other branches.
"""

import sys
from collections.abc import Callable, Coroutine
from typing import Any

from stepwell.sdk.runtime import drive, runtime

WORKFLOW_FILE = "<workflow>"  # the name under which a workflow's source is compiled


class HostFunction:
    """A function of the host. Calling it blocks; `ctx.step` runs it without blocking."""

    def __init__(
        self, kind: str, name: str, bind: Callable[..., tuple[list[Any], dict[str, Any]]] | None = None
    ) -> None:
        self.kind = kind
        self.name = name
        self._bind = bind

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Make the call and return its value."""
        return drive(self._make(args, kwargs, block=True))

    async def start(self, *args: Any, **kwargs: Any) -> Any:
        """Make the call; other branches go on meanwhile where the current code is async."""
        return await self._make(args, kwargs, block=False)

    def _make(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, block: bool) -> Coroutine[Any, Any, Any]:
        rt = runtime()
        bound_args, bound_kwargs = self._bind(*args, **kwargs) if self._bind else ([*args], kwargs)
        return rt.call(self.kind, self.name, bound_args, bound_kwargs, rt.scope().key(self.name), block=block)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"


class ToolPath(HostFunction):
    """`tools.a.b`: callable, and the parent of `tools.a.b.c`."""

    def __init__(self, name: str) -> None:
        super().__init__("tool", name)

    def __getattr__(self, part: str) -> Any:
        if part.startswith("_"):
            raise AttributeError(part)
        if part == "list":
            return HostFunction("query", "tools.list", lambda: ([], {"prefix": self.name}))
        if part == "search":
            return HostFunction(
                "query",
                "tools.search",
                lambda query, limit=5: ([], {"query": query, "limit": limit, "prefix": self.name}),
            )
        found = self.__dict__[part] = ToolPath(f"{self.name}.{part}")  # the next time it is found without this
        return found


class ToolsHandle:
    """`tools.<name>(...)`, `tools.<server>.<name>(...)`; `list` and `search(query)` of all or of `tools.<server>`."""

    list = HostFunction("query", "tools.list", lambda: ([], {}))
    search = HostFunction("query", "tools.search", lambda query, limit=5: ([], {"query": query, "limit": limit}))

    def __getattr__(self, name: str) -> ToolPath:
        if name.startswith("_"):
            raise AttributeError(name)
        found = self.__dict__[name] = ToolPath(name)
        return found

    def call(self, tool: str, /, **kwargs: Any) -> Any:
        """Call a tool by its dotted name."""
        return ToolPath(tool)(**kwargs)


def describe(subject: Any = None) -> str:
    """Return what a tool takes and gives, or which tools a group has: `help(tools.curl.get)`, `help(tools.curl)`."""
    if subject is None or isinstance(subject, ToolsHandle):
        name = ""
    elif isinstance(subject, HostFunction):
        name = subject.name
    else:
        return str(getattr(subject, "__doc__", None) or f"no help on {type(subject).__name__}")
    return str(HostFunction("query", "tools.help", lambda: ([], {"name": name}))())


def _bind_create(
    name: str, source: str, description: str | None = None, *, replace: bool = False, **extra: Any
) -> tuple[list[Any], dict[str, Any]]:
    return [], {"name": name, "source": source, "description": description, "replace": replace, **extra}


class WorkflowsHandle:
    """Other stored workflows: `invoke`, `start`, and the catalogue."""

    list = HostFunction("query", "workflows.list", lambda: ([], {}))
    search = HostFunction("query", "workflows.search", lambda query, limit=5: ([], {"query": query, "limit": limit}))
    get = HostFunction("query", "workflows.get", lambda name: ([], {"name": name}))
    create = HostFunction("act", "workflows.create", _bind_create)
    delete = HostFunction("act", "workflows.delete", lambda name: ([], {"name": name}))

    def invoke(self, name: str, /, *args: Any, **inputs: Any) -> Any:
        """Run another workflow and return its value; it is a run of its own."""
        return HostFunction("child", name)(*args, **inputs)

    def start(self, name: str, /, *args: Any, **inputs: Any) -> Any:
        """Start another workflow and return its run id without waiting."""
        return HostFunction("start", name)(*args, **inputs)

    def __getattr__(self, name: str) -> HostFunction:
        if name.startswith("_"):
            raise AttributeError(name)
        return HostFunction("child", name)


def _bind_save(
    name: str, data: Any, description: str = "", metadata: dict[str, Any] | None = None
) -> tuple[list[Any], dict[str, Any]]:
    return [], {"name": name, "data": data, "description": description, "metadata": metadata or {}}


class ArtifactsHandle:
    """Named values that outlive the run: JSON, text or bytes."""

    save = HostFunction("act", "artifacts.save", _bind_save)
    load = HostFunction("query", "artifacts.load", lambda name: ([], {"name": name}))
    exists = HostFunction("query", "artifacts.exists", lambda name: ([], {"name": name}))
    list = HostFunction("query", "artifacts.list", lambda: ([], {}))
    delete = HostFunction("act", "artifacts.delete", lambda name: ([], {"name": name}))


tools = ToolsHandle()
workflows = WorkflowsHandle()
artifacts = ArtifactsHandle()


def caller_line(module_file: str) -> int:
    """Return the line of the workflow's source that is running, 0 if none is."""
    # The only way to a line without raising an exception.
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        if frame.f_code.co_filename == module_file:
            return frame.f_lineno
        frame = frame.f_back
    return 0
