"""What works and should be written better; never a reason to refuse."""

import ast
from collections.abc import Iterator

from stepwell.catalog.entry import Entry
from stepwell.catalog.origins import Origins
from stepwell.catalog.parameters import Inputs
from stepwell.model import Parameter, Warn

HANDLES = frozenset({"tools", "workflows", "artifacts", "agents", "ctx"})

_SHORT_WORDS = frozenset(
    ("id", "to", "by", "at", "on", "of", "in", "up", "no", "is", "ip", "os", "db", "ui", "tz", "cc", "pr", "qa", "ok")
)
_AXES = frozenset({"x", "y", "z"})
_CONSONANTS = frozenset(
    {"url", "sql", "csv", "xml", "html", "http", "https", "ssh", "dns", "css", "tcp", "udp", "ftp", "smtp"}
    | {"sms", "pdf", "png", "jpg", "svg", "rgb", "rss", "ssl", "tls", "vpn", "gps", "cpu", "gpu", "llm"}
    | {"npm", "jwt", "pct", "ttl", "std", "crm", "cms", "vcs", "nth", "bcc", "sdk", "tld", "sla", "lng"}
    | {"gdp"}
)
_VOWELS = frozenset("aeiouy")


def check_quality(tree: ast.Module, entry: Entry, inputs: Inputs, origins: Origins) -> Iterator[Warn]:
    """Yield the warnings on how the source is written."""
    yield from _documented(tree, entry)
    yield from _named(entry, inputs.parameters)
    if entry.decorated and not inputs.context:
        yield Warn(
            code="no_context",
            message=f"`{entry.name}` is decorated @workflow and takes no context: make its first parameter "
            "`ctx: WorkflowContext`, or leave the decorator out and call it `run`.",
            line=entry.line,
        )
    yield from _work_at_import(tree, origins)
    for node in origins.nodes:
        if isinstance(node, ast.ExceptHandler):
            yield from _silent(node, origins)
        elif isinstance(node, ast.Call):
            yield from _called(node, origins)


def is_cryptic(name: str, *, beside: frozenset[str] = frozenset()) -> bool:
    """Say whether a parameter's name is one or two letters, or an abbreviation without vowels."""
    if name in _AXES:
        return len(_AXES & (beside | {name})) < 2
    if len(name) <= 2:
        return name.lower() not in _SHORT_WORDS
    words = [word for word in name.lower().split("_") if word.isalpha() and len(word) > 2]
    return any(not _VOWELS & set(word) and word not in _CONSONANTS for word in words)


def _documented(tree: ast.Module, entry: Entry) -> Iterator[Warn]:
    inner = ast.get_docstring(entry.function, clean=False) if entry.function else None
    if not (ast.get_docstring(tree, clean=False) or inner) and entry.kind != "script":
        yield Warn(
            code="missing_docstring",
            message="no docstring says what the workflow is for, so search will hardly find it: start the module "
            "with one sentence in triple quotes.",
            line=entry.line,
        )


def _named(entry: Entry, parameters: tuple[Parameter, ...]) -> Iterator[Warn]:
    names = frozenset(item.name for item in parameters)
    for item in parameters:
        if is_cryptic(item.name, beside=names):
            yield Warn(
                code="cryptic_name",
                message=f"the parameter `{item.name}` does not say what it holds: write the word out.",
                line=entry.function.lineno if entry.function else entry.line,
            )


def _work_at_import(tree: ast.Module, origins: Origins) -> Iterator[Warn]:
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += [*node.decorator_list, *node.args.defaults]
            continue
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, ast.Call) and _handle(node.func, origins):
            yield Warn(
                code="work_at_import",
                message="this call runs whenever the module is loaded, before the run begins: move it into the entry.",
                line=node.lineno,
            )
        waiting.extend(ast.iter_child_nodes(node))


def _silent(node: ast.ExceptHandler, origins: Origins) -> Iterator[Warn]:
    caught = origins.of(node.type) if node.type is not None else ""
    hides = all(isinstance(item, ast.Pass) for item in node.body)
    broad = node.type is None or caught == "BaseException" or (caught == "Exception" and hides)
    if broad and not any(isinstance(item, ast.Raise) for statement in node.body for item in ast.walk(statement)):
        yield Warn(
            code="bare_except",
            message="this hides what went wrong: catch the exception you expect, and raise "
            "`RuntimeError(...) from error` for the rest.",
            line=node.lineno,
        )


def _called(node: ast.Call, origins: Origins) -> Iterator[Warn]:
    name = origins.of(node.func)
    if name == "time.sleep":
        yield Warn(
            code="blocking_sleep",
            message="write `ctx.sleep(seconds, name=...)`: it lasts over restarts and holds no process.",
            line=node.lineno,
        )
    elif name in {"asyncio.gather", "asyncio.wait", "asyncio.create_task"}:
        arguments = [item.value if isinstance(item, ast.Starred) else item for item in node.args]
        parts = [part.elt if isinstance(part, ast.ListComp | ast.GeneratorExp) else part for part in arguments]
        blocking = {"tools", "workflows", "artifacts"}
        if any(isinstance(part, ast.Call) and _handle(part.func, origins) in blocking for part in parts):
            yield Warn(
                code="gather_of_tools",
                message="tools block, so these calls run one after the other and there is nothing to gather: write "
                "`ctx.parallel(ctx.step(tools.x, url=...), ...)`.",
                line=node.lineno,
            )


def _handle(node: ast.expr, origins: Origins) -> str:
    root = origins.of(node).partition(".")[0]
    return root if root in HANDLES else ""
