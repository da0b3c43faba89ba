"""YAML that others wrote: what it stands for is bounded before anything is made of it."""

from typing import Any, ClassVar

import yaml

MAX_EXPANDED = 64 * 1024 * 1024  # characters and values, each alias counted as what it stands for
MERGED = 8  # times that what is merged into a mapping counts: it is copied on the way
MAX_NESTED = 200  # libyaml makes nodes by recursion, and takes the process with it when its stack is full

_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SafeLoader):
    """Reads what JSON could hold: dates stay texts."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {
        first: [(tag, found) for tag, found in each if not tag.endswith(":timestamp")]
        for first, each in _SafeLoader.yaml_implicit_resolvers.items()
    }


def read_yaml(text: str) -> Any:
    """Return the value of a document.

    Raises:
        ValueError: its aliases stand for too much, or for themselves.
        yaml.YAMLError, RecursionError: it is no YAML, or nested too deeply.
    """
    _check_nesting(text)
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        if _expanded(root, {}) > MAX_EXPANDED:
            raise ValueError(f"its aliases stand for more than {MAX_EXPANDED} characters")
        return loader.construct_document(root)
    finally:
        loader.dispose()


def compose_yaml(text: str) -> yaml.Node | None:
    """Return the nodes of a document, which know their lines."""
    _check_nesting(text)
    return yaml.compose(text, _Loader)


def _check_nesting(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_NESTED:
                raise ValueError(f"it is nested more than {MAX_NESTED} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _expanded(node: yaml.Node, known: dict[int, int | None]) -> int:
    """Return the size of what a node stands for; `known` has that of nodes by identity, None of those around it."""
    size = known.get(id(node), 0)
    if size is None:
        raise ValueError("it has an alias that stands for itself")
    if not size:
        known[id(node)] = None
        size = 1
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                often = MERGED if str(key.tag).endswith(":merge") else 1
                size += _expanded(key, known) + often * _expanded(value, known)
        elif isinstance(node, yaml.SequenceNode):
            size += sum(_expanded(item, known) for item in node.value)
        else:
            size += len(node.value)
        known[id(node)] = size
    return size
