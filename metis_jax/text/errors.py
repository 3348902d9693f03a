"""The two ways the text front end refuses: a request that makes no sense, and a package that is not installed."""

import importlib
from types import ModuleType

INSTALL_COMMAND = 'pip install "metis_jax[text]"'


class TextError(ValueError):
    """Text, language, phonemes or ids that can not be used; the message is one line and names the remedy."""


class MissingTextExtra(ImportError):
    """A package of the optional `text` extra is absent."""

    def __init__(self, package: str):
        super().__init__(f"text needs the package {package!r}, which is not installed: {INSTALL_COMMAND}")
        self.package = package


def require(module: str) -> ModuleType:
    """Import a module of the `text` extra, or say which command installs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingTextExtra((error.name or module).split(".")[0]) from error
