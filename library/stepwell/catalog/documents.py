"""A workflow as search sees it."""

import re

from stepwell.model import Workflow
from stepwell.search.document import Document

_READ = 8000  # characters of a source
_TEXTS = re.compile(r'"""((?:[^"]|"(?!""))*+)"""', re.DOTALL)
_SECTION = re.compile(r"^[ \t]*(?:Args|Arguments|Parameters|Returns|Raises|Yields)[ \t]*:?[ \t]*$", re.MULTILINE)


def document_of(workflow: Workflow, learned: tuple[str, ...] = ()) -> Document:
    """Return what can be found of a workflow. `learned` are requests that it has served."""
    version = workflow.version
    head = version.source[:_READ]
    tools = " ".join(str(tool) for tool in version.manifest.get("tools", []))
    said = [text for text in (version.description, *_texts(head)) if text and text not in workflow.description]
    details = "\n".join(dict.fromkeys([*said, version.returns_description, tools])).strip()
    return Document(
        name=workflow.name,
        description=workflow.description,
        details=details,
        parameters=tuple((item.name, item.description) for item in version.parameters),
        source=_TEXTS.sub("", head).strip(),
        intents=tuple(dict.fromkeys((*workflow.intents, *learned))),
    )


def _texts(source: str) -> list[str]:
    # Parameters and results have columns of their own, so a docstring counts up to its first section.
    found = (_SECTION.split(match[1], maxsplit=1)[0] for match in _TEXTS.finditer(source))
    return [" ".join(text.split()) for text in found][:3]
