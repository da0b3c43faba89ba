"""The directory that holds everything of one Stepwell."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stepwell.errors import ConfigError

VARIABLE = "STEPWELL_HOME"
MODELS_VARIABLE = "STEPWELL_SEARCH_MODELS"


@dataclass(frozen=True, slots=True)
class Home:
    """The paths in a home."""

    path: Path

    @property
    def db(self) -> Path:
        """The SQLite file."""
        return self.path / "stepwell.db"

    @property
    def workflows(self) -> Path:
        """Pre-authored workflows, `*.py`."""
        return self.path / "workflows"

    @property
    def tools(self) -> Path:
        """Command-line tools, `*.yaml`."""
        return self.path / "tools"

    @property
    def listings(self) -> Path:
        """What MCP servers have listed the last time; may be absent."""
        return self.path / "listings"

    @property
    def search_lock(self) -> Path:
        """Held by the process that indexes for all."""
        return self.path / "search.lock"

    @property
    def environments(self) -> Path:
        """Installed packages of workflows; may be absent."""
        return self.path / "environments"

    @property
    def config(self) -> Path:
        """The configuration; may be absent."""
        return self.path / "stepwell.toml"


def find_home(option: str | None = None) -> Path:
    """Return the home's path, which may not exist yet: the option, else STEPWELL_HOME, else the platform's.

    Raises:
        ConfigError: none of them gives a path.
    """
    chosen = option or os.environ.get(VARIABLE)
    try:
        path = Path(chosen).expanduser() if chosen else platform_home(sys.platform, os.environ, Path.home())
    except RuntimeError as error:
        raise ConfigError(
            f"the home directory cannot be found: {error}", hint=f"Set {VARIABLE} or pass --home DIR."
        ) from error
    return path.absolute()


def platform_home(platform: str, environment: Mapping[str, str], user: Path) -> Path:
    """Return the data directory that the platform has for Stepwell; `platform` as in `sys.platform`."""
    if platform == "darwin":
        return user / "Library" / "Application Support" / "stepwell"
    if platform == "win32":
        local = environment.get("LOCALAPPDATA")
        return (Path(local) if local else user / "AppData" / "Local") / "stepwell"
    data = environment.get("XDG_DATA_HOME", "")
    # The XDG specification: a relative path is invalid and to be ignored.
    return (Path(data) if data.startswith("/") else user / ".local" / "share") / "stepwell"


def find_models_folder() -> Path:
    """Return where models for search are kept: STEPWELL_SEARCH_MODELS, else in the platform's cache folder."""
    chosen = os.environ.get(MODELS_VARIABLE)
    return Path(chosen).expanduser().absolute() if chosen else platform_models(sys.platform, os.environ, Path.home())


def platform_models(platform: str, environment: Mapping[str, str], user: Path) -> Path:
    """Return the folder for models in the cache that the platform has; `platform` as in `sys.platform`."""
    if platform == "darwin":
        return user / "Library" / "Caches" / "stepwell" / "models"
    if platform == "win32":
        local = environment.get("LOCALAPPDATA")
        return (Path(local) if local else user / "AppData" / "Local") / "stepwell" / "cache" / "models"
    cache = environment.get("XDG_CACHE_HOME", "")
    return (Path(cache) if cache.startswith("/") else user / ".cache") / "stepwell" / "models"


def open_home(path: Path) -> Home:
    """Return the home, made with mode 0700 if absent.

    Raises:
        ConfigError: it cannot be made, is no directory, or cannot be written to.
    """
    home = Home(path)
    try:
        if not path.exists():
            path.mkdir(parents=True, mode=0o700)
        for folder in (home.workflows, home.tools):
            folder.mkdir(exist_ok=True, mode=0o700)
    except (FileExistsError, NotADirectoryError) as error:
        raise ConfigError(
            f"{error.filename or path} is not a directory, so the home {path} cannot be used",
            hint=f"Move it away, or choose another home with {VARIABLE} or --home DIR.",
        ) from error
    except OSError as error:
        raise ConfigError(
            f"the home {path} cannot be made: {error.strerror or error}",
            hint=f"Choose another one with {VARIABLE} or --home DIR.",
        ) from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError(
            f"the home {path} cannot be written to",
            hint=f"Change its permissions, or choose another one with {VARIABLE} or --home DIR.",
        )
    return home
