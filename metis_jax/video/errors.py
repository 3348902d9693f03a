"""The two ways in which a video is refused: a file that can not be used, and a package that is not installed."""

import importlib
from types import ModuleType

INSTALL_COMMAND = 'pip install "metis_jax[video]"'


class VideoError(ValueError):
    """A video that can not be used; one line that begins with its name."""


class MissingVideoExtra(ImportError):
    """A package of the optional `video` extra is absent."""

    def __init__(self, package: str, instead: str = ""):
        super().__init__(f"video needs the package {package!r}, which is not installed: {INSTALL_COMMAND}{instead}")
        self.package = package


def require(module: str) -> ModuleType:
    """A module of the `video` extra, or which command installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingVideoExtra((error.name or module).split(".")[0]) from error
