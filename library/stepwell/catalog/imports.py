"""What the source uses that the sandbox does not have, each with what to use instead."""

import ast
import re
import sys
from collections.abc import Iterator

from stepwell.catalog.origins import Origins
from stepwell.compat import SYSTEMS
from stepwell.model import Warn
from stepwell.model.requirements import normal_name

# By code: what to use instead.
_INSTEAD = {
    "no_network": "there is no network in the sandbox: use `tools.fetch(url=...)` or "
    "`tools.http.request(method=..., url=...)`",
    "no_processes": "a workflow cannot start processes: use a command-line tool, `tools.<name>.<recipe>(...)`",
    "no_threads": "threads and processes are not journalled: use `ctx.parallel`, `ctx.gather` or `ctx.batch`",
    "no_files": "files of the host cannot be reached and what is written does not last: use "
    "`artifacts.save(name, data)` and `artifacts.load(name)`, or take the content as a parameter",
    "no_environment": "the sandbox has no environment variables: write `{{secret:NAME}}` in a tool's arguments, or "
    "take a parameter",
    "no_terminal": "nobody sits at a terminal: use `ctx.wait_for_user(prompt)`",
}


def _table(**names: str) -> dict[str, str]:
    return {name: code for code, listed in names.items() for name in listed.split()}


# Modules by full name or by any of their parents.
_MODULES = _table(
    no_network="requests httpx aiohttp urllib3 pycurl urllib.request http.client http.server socket socketserver ssl "
    "ftplib smtplib imaplib poplib telnetlib websockets",
    no_processes="subprocess pty sh",
    no_threads="threading _thread multiprocessing concurrent.futures",
)
_CALLS = _table(
    no_files="open io.open os.open shutil.copy shutil.move",
    no_processes="os.system os.popen os.fork os.execv os.execvp os.spawnv os.posix_spawn "
    "asyncio.create_subprocess_exec asyncio.create_subprocess_shell",
    no_environment="os.getenv os.putenv",
    no_terminal="input",
    no_threads="asyncio.to_thread",
    no_network="asyncio.open_connection",
)
_FILE_METHODS = frozenset({"read_text", "write_text", "read_bytes", "write_bytes"})
# Frameworks whose workflows are written the same way here.
_FRAMEWORKS = frozenset({*SYSTEMS, "py_code_mode"})
_GUEST_PACKAGES = frozenset({"stepwell"})
_DISTRIBUTIONS = {  # import name -> name on the index, where they differ
    "yaml": "pyyaml",
    "bs4": "beautifulsoup4",
    "PIL": "pillow",
    "cv2": "opencv-python",
    "sklearn": "scikit-learn",
    "dateutil": "python-dateutil",
    "docx": "python-docx",
    "attr": "attrs",
    "Crypto": "pycryptodome",
    "jwt": "pyjwt",
    "fitz": "pymupdf",
    "pptx": "python-pptx",
    "slugify": "python-slugify",
}


def check_imports(origins: Origins, dependencies: list[str]) -> Iterator[Warn]:
    """Yield a warning for each line that would fail in the sandbox."""
    declared = {_normal(name) for name in dependencies}
    optional = _optional_lines(origins)
    for node in origins.nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            if node.lineno not in optional:
                yield from _imported(node, declared)
        elif isinstance(node, ast.Call):
            if found := _CALLS.get(origins.of(node.func)):
                yield _warn(found, f"{origins.of(node.func)}()", node.lineno)
            elif isinstance(node.func, ast.Attribute) and node.func.attr in _FILE_METHODS:
                yield _warn("no_files", f".{node.func.attr}()", node.lineno)
        elif isinstance(node, ast.Attribute | ast.Name) and origins.of(node) == "os.environ":
            yield _warn("no_environment", "os.environ", node.lineno)


def _imported(node: ast.Import | ast.ImportFrom, declared: set[str]) -> Iterator[Warn]:
    if isinstance(node, ast.ImportFrom) and node.level:
        yield Warn(
            code="missing_package",
            message="a stored workflow is a single module: call another one with `workflows.invoke(name, ...)`.",
            line=node.lineno,
        )
        return
    if isinstance(node, ast.ImportFrom):
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    else:
        names = [alias.name for alias in node.names]
    for name in names:
        if found := _banned(name):
            yield _warn(found, f"`{name}`", node.lineno)
            return
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in _GUEST_PACKAGES and _distribution(top) not in declared:
            yield _missing(top, node.lineno)
            return


def _banned(name: str) -> str | None:
    parts = name.split(".")
    return next((found for n in range(len(parts), 0, -1) if (found := _MODULES.get(".".join(parts[:n])))), None)


def _missing(name: str, line: int) -> Warn:
    if name in _FRAMEWORKS:
        return Warn(
            code="missing_package",
            message=_framework(name),
            line=line,
        )
    return Warn(
        code="missing_package",
        message=f"`{name}` is not in the sandbox: use the standard library or a tool, or declare it in a "
        f'`# /// script` block with `dependencies = ["{_distribution(name)}"]`.',
        line=line,
    )


def _framework(name: str) -> str:
    native = "import workflow, WorkflowContext, Workflow, function or Agent from `stepwell`"
    if name not in SYSTEMS:
        return f"`{name}` is not in the sandbox: {native}."
    return f"`{name}` is not in the sandbox: import the same names from `stepwell.compat.{name}`, or {native}."


def _optional_lines(origins: Origins) -> set[int]:
    # Imports whose failure the source handles, and those only type checkers see.
    lines: set[int] = set()
    for node in origins.nodes:
        if isinstance(node, ast.Try) and any(_catches_import(handler) for handler in node.handlers):
            guarded: list[ast.stmt] = node.body
        elif isinstance(node, ast.If) and origins.last(node.test) == "TYPE_CHECKING":
            guarded = node.body
        else:
            continue
        lines |= {item.lineno for item in guarded if isinstance(item, ast.Import | ast.ImportFrom)}
    return lines


def _catches_import(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(item, ast.Name) and item.id in {"ImportError", "ModuleNotFoundError"} for item in caught)


def _distribution(name: str) -> str:
    return _normal(_DISTRIBUTIONS.get(name, name))


def _normal(requirement: str) -> str:
    name = re.match(r"[A-Za-z0-9._-]+", requirement.strip())
    return normal_name(name[0]) if name else ""


def _warn(code: str, what: str, line: int) -> Warn:
    return Warn(code=code, message=f"{what}: {_INSTEAD[code]}.", line=line)
