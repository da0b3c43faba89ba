"""How texts name secrets: `{{secret:NAME}}`."""

import re

SECRET = re.compile(r"\{\{\s*secret:\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
SECRET_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def list_secret_names(text: str) -> tuple[str, ...]:
    """Return the secrets that a text names, each once, in its order."""
    return tuple(dict.fromkeys(match[1] for match in SECRET.finditer(text)))
