"""Versions of packages and the bounds on them (PEP 440)."""

import re
from typing import Any

VERSION = re.compile(
    r"v?(?:(?P<epoch>\d+)!)?(?P<release>\d+(?:\.\d+)*)"
    r"(?:[-_.]?(?P<pre>alpha|a|beta|b|preview|pre|c|rc)[-_.]?(?P<pre_n>\d*))?"
    r"(?:-(?P<post_dash>\d+)|[-_.]?(?P<post>post|rev|r)[-_.]?(?P<post_n>\d*))?"
    r"(?:[-_.]?(?P<dev>dev)[-_.]?(?P<dev_n>\d*))?"
    r"(?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?",
    re.IGNORECASE,
)
CLAUSE = re.compile(r"(===|==|~=|!=|<=|>=|<|>)([A-Za-z0-9.*+!_-]+)")
_LETTERS = {"alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc"}
_LEAST, _MOST = (-1,), (1,)

Key = tuple[Any, ...]


def is_version(text: str) -> bool:
    """Say whether a text is a version."""
    return VERSION.fullmatch(text) is not None


def version_key(text: str) -> Key:
    """Return what orders versions: epoch, release, pre-release, post-release, development release, local part.

    Raises:
        ValueError: it is no version.
    """
    found = VERSION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no version")
    release = [int(part) for part in found["release"].split(".")]
    while release and release[-1] == 0:
        release.pop()
    post = found["post_dash"] or found["post"]
    pre: Key = _LEAST if found["pre"] is None and post is None and found["dev"] is not None else _MOST
    if found["pre"] is not None:
        letter = found["pre"].lower()
        pre = (0, _LETTERS.get(letter, letter), int(found["pre_n"] or 0))
    post_key: Key = _LEAST if post is None else (0, int(found["post_dash"] or found["post_n"] or 0))
    dev: Key = _MOST if found["dev"] is None else (0, int(found["dev_n"] or 0))
    return int(found["epoch"] or 0), tuple(release), pre, post_key, dev, _local(found["local"])


def is_bounds(text: str) -> bool:
    """Say whether a text is a list of bounds without spaces, such as `>=2,<3`; the empty one is."""
    return all(_is_clause(clause) for clause in text.split(",")) if text else True


def within(bounds: str, version: str) -> bool:
    """Say whether a version keeps every bound of `>=2,<3.1,!=2.5`.

    Raises:
        ValueError: a bound or the version is none.
    """
    return all(_keeps(clause, version) for clause in bounds.split(",")) if bounds else True


def _is_clause(clause: str) -> bool:
    found = CLAUSE.fullmatch(clause)
    if found is None:
        return False
    operator, wanted = found.groups()
    if operator == "===":
        return True
    if operator == "~=":
        return is_version(wanted) and "." in wanted
    return is_version(wanted.removesuffix(".*") if operator in ("==", "!=") else wanted)


def _keeps(clause: str, version: str) -> bool:
    found = CLAUSE.fullmatch(clause)
    if found is None or not _is_clause(clause):
        raise ValueError(f"{clause!r} is no bound on a version")
    operator, wanted = found.groups()
    match operator:
        case "===":
            return version.lower() == wanted.lower()
        case "==" | "!=" if wanted.endswith(".*"):
            return _begins(version, wanted.removesuffix(".*")) is (operator == "==")
        case "==":
            return _equal(version, wanted)
        case "!=":
            return not _equal(version, wanted)
        case "~=":
            return _public(version) >= _public(wanted) and _begins(version, _without_last(wanted))
        case ">=":
            return _public(version) >= _public(wanted)
        case "<=":
            return _public(version) <= _public(wanted)
        case "<":
            return _public(version) < _public(wanted) and not _is_pre_of(version, wanted)
        case _:
            return _public(version) > _public(wanted) and not _is_post_of(version, wanted)


def _is_pre_of(version: str, wanted: str) -> bool:
    ours, theirs = version_key(version), version_key(wanted)
    return (*ours[:2], ours[3]) == (*theirs[:2], theirs[3]) and _is_pre(version) and not _is_pre(wanted)


def _is_post_of(version: str, wanted: str) -> bool:
    ours, theirs = version_key(version), version_key(wanted)
    return ours[:3] == theirs[:3] and ours[3] != _LEAST and theirs[3] == _LEAST


def _equal(version: str, wanted: str) -> bool:
    return version_key(version) == version_key(wanted) if "+" in wanted else _public(version) == _public(wanted)


def _begins(version: str, prefix: str) -> bool:
    """Say whether a version has the same release as far as `prefix` goes; missing parts are zeros."""
    ours, theirs = _parts(version), _parts(prefix)
    same = [*ours, *[0] * len(theirs)][: len(theirs)] == theirs
    suffix_ok = _before(version, 3)[2:] == _before(prefix, 3)[2:] if _is_pre(prefix) else True
    return _before(version, 1) == _before(prefix, 1) and same and suffix_ok


def _without_last(version: str) -> str:
    found = VERSION.fullmatch(version)
    assert found is not None
    epoch = f"{found['epoch']}!" if found["epoch"] else ""
    return epoch + found["release"].rpartition(".")[0]


def _parts(version: str) -> list[int]:
    found = VERSION.fullmatch(version)
    if found is None:
        raise ValueError(f"{version!r} is no version")
    return [int(part) for part in found["release"].split(".")]


def _before(version: str, count: int) -> Key:
    return version_key(version)[:count]


def _public(version: str) -> Key:
    return version_key(version)[:5]


def _is_pre(version: str) -> bool:
    key = version_key(version)
    return key[2] != _MOST or key[4] != _MOST


def _local(text: str | None) -> Key:
    if text is None:
        return _LEAST
    parts = re.split(r"[-_.]", text.lower())
    return (0, tuple((1, int(part)) if part.isdigit() else (0, part) for part in parts))
