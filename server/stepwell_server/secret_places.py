"""Secrets in what `stepwell.toml` itself sends: headers, environments and keys of sources of tools."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from stepwell.model.secret_names import list_secret_names
from stepwell.tools.mistakes import KeyPath, dotted
from stepwell.tools.secrets import misfit_of_source
from stepwell.tools.sources import make_identifier

if TYPE_CHECKING:
    from stepwell_server.settings import Settings


def list_misplaced(settings: "Settings") -> Iterator[tuple[KeyPath, str]]:
    """Yield the place and the mistake of every secret that is not known, or may not go where it is written."""
    for name, server in settings.mcp_servers.items():
        if server.disabled:
            continue
        path = ("mcp_servers", name)
        yield from _misfits(settings, path, "env", server.env, ())
        yield from _misfits(settings, path, "headers", server.headers, _hosts(server.url))
        yield from _literal((*path, "url"), server.url or "")
        for number, word in enumerate(server.args):
            yield from _literal((*path, "args", str(number)), word)
    for name, api in settings.openapi.items():
        away = api.document.startswith(("http://", "https://"))
        hosts = _hosts(api.base_url or (api.document if away else None))
        yield from _misfits(settings, ("openapi", name), "headers", api.headers, hosts)
        yield from _misfits(settings, ("openapi", name), "auth", api.auth, hosts)


def _misfits(
    settings: "Settings", path: KeyPath, table: str, texts: Mapping[str, str], hosts: tuple[str, ...] | None
) -> Iterator[tuple[KeyPath, str]]:
    namespace = make_identifier(path[-1])
    # Where a tool of the home has the name, it is another; what counts is looked at again when it is sent.
    names = (namespace, make_identifier(path[-1], {namespace}))
    for key, text in texts.items():
        place = (*path, table, key)
        for secret in list_secret_names(text):
            if (rule := settings.secrets.get(secret)) is None:
                yield place, f"{dotted(place)}: there is no secret {secret}; add [secrets.{secret}]"
            elif (wrong := misfit_of_source(rule.rule(Path()), names, hosts)) is not None:
                more = f'in [secrets.{secret}], tools = ["{namespace}.*"] would allow it'
                if rule.hosts:
                    more = f"[secrets.{secret}] names its hosts" if hosts else f"{more}, without hosts"
                yield place, f"{dotted(place)}: the secret {secret} {wrong}; {more}"


def _literal(place: KeyPath, text: str) -> Iterator[tuple[KeyPath, str]]:
    if list_secret_names(text):
        yield place, f"{dotted(place)}: a secret cannot stand here; use env or headers"


def _hosts(url: str | None) -> tuple[str, ...] | None:
    if not url or "${" in url:
        return None
    import httpx  # noqa: PLC0415  a tenth of a second, which a home without servers should not spend

    return (httpx.URL(url).host.rstrip("."),)
