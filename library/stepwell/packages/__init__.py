"""Third-party packages of workflows: found and installed on the host, run in the sandbox alone."""

from stepwell.packages.environments import Environments
from stepwell.packages.policy import PackagePolicy
from stepwell.packages.shelf import Shelf, Shelved

__all__ = ["Environments", "PackagePolicy", "Shelf", "Shelved"]
