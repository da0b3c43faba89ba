"""The outline of a workflow as Mermaid and as text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from stepwell.catalog.nodes import END, Branch, NodeSource
from stepwell.catalog.outline import read_outline
from stepwell.model import Workflow
from stepwell.model.text import clean_text

_LOOPS = frozenset({"Loop", "LoopAgent", "For", "While"})
_CHOICES = frozenset({"Condition", "ConditionalAgent", "If", "Router"})
_ROUND = frozenset({"Wait"})
MAX_LABEL = 120  # characters


@dataclass(frozen=True, slots=True)
class Drawing:
    """A workflow, drawn in two ways."""

    text: str
    mermaid: str


def draw(workflow: Workflow) -> Drawing:
    """Return the drawings of a stored workflow. A large source takes some milliseconds."""
    nodes = read_outline(workflow.version)
    return Drawing(draw_text(workflow.name, nodes), draw_mermaid(workflow.name, nodes))


def draw_text(title: str, nodes: Sequence[NodeSource]) -> str:
    """Return the nodes as an indented tree."""
    return "\n".join([clean_text(title), *_lines(nodes, "")])


def draw_mermaid(title: str, nodes: Sequence[NodeSource]) -> str:
    """Return the nodes as a Mermaid flow chart."""
    chart = _Chart()
    begin = chart.add("([", title, "])")
    for source, label in chart.follow(nodes, [(begin, "")]):
        chart.edge(source, "done", label)
    return "\n".join(["flowchart TD", *chart.lines, "  done([done])"])


def _lines(nodes: Sequence[NodeSource], indent: str) -> Iterator[str]:
    for n, node in enumerate(nodes):
        last = n == len(nodes) - 1
        yield f"{indent}{'└─ ' if last else '├─ '}{_title(node)}"
        below = indent + ("   " if last else "│  ")
        yield from _branch_lines(node.branches, below)


def _branch_lines(branches: Sequence[Branch], indent: str) -> Iterator[str]:
    filled = [branch for branch in branches if branch.nodes]
    if all(not branch.label for branch in filled):
        yield from _lines([node for branch in filled for node in branch.nodes], indent)
        return
    for n, branch in enumerate(filled):
        last = n == len(filled) - 1
        yield f"{indent}{'└─ ' if last else '├─ '}{clean_text(branch.label)}:"
        yield from _lines(branch.nodes, indent + ("   " if last else "│  "))


def _title(node: NodeSource) -> str:
    named = f"{node.kind} {node.name}" if node.name else node.kind
    more = [text for text in (node.work, node.note) if text]
    return clean_text(f"{named} ({', '.join(more)})" if more else named)[:MAX_LABEL]


@dataclass(slots=True)
class _Chart:
    """The lines of a chart, and how many places it has."""

    lines: list[str] = field(default_factory=list[str])
    _count: int = 0

    def add(self, opening: str, label: str, closing: str) -> str:
        self._count += 1
        name = f"n{self._count}"
        self.lines.append(f'  {name}{opening}"{_quoted(label)}"{closing}')
        return name

    def edge(self, source: str, target: str, label: str = "") -> None:
        self.lines.append(f'  {source} -->|"{_quoted(label)}"| {target}' if label else f"  {source} --> {target}")

    def follow(self, nodes: Sequence[NodeSource], ends: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Add nodes behind these ends, each with the label of its edge; return the new ends."""
        for node in nodes:
            ends = self._node(node, ends)
        return ends

    def _node(self, node: NodeSource, ends: list[tuple[str, str]]) -> list[tuple[str, str]]:
        if node.kind == "Steps":
            return self.follow(node.branches[0].nodes if node.branches else (), ends)
        if node.kind == END:
            for source, label in ends:
                self.edge(source, "done", label)
            return []
        here = self.add(*_shape(node))
        for source, label in ends:
            self.edge(source, here, label)
        inner = [found for branch in node.branches for found in self.follow(branch.nodes, [(here, branch.label)])]
        if node.kind in _LOOPS:
            for source, label in inner:
                self.edge(source, here, label or "again")
            return [(here, "then")]
        if node.kind == "If" and len(node.branches) == 1:
            inner.append((here, "else"))
        return inner if node.branches else [(here, "")]


def _shape(node: NodeSource) -> tuple[str, str, str]:
    title = _title(node)
    if node.kind in _CHOICES:
        return "{", title, "}"
    if node.branches:
        return "{{", title, "}}"
    return ("(", title, ")") if node.kind in _ROUND else ("[", title, "]")


def _quoted(text: str) -> str:
    # Within quotes Mermaid knows entities and HTML; neither shall be made of the source's text.
    shown = clean_text(" ".join(text.split()))[:MAX_LABEL].replace("#", "#35;").replace("&", "#38;")
    return shown.replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;").replace("`", "#96;")
