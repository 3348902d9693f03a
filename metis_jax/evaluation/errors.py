"""What keeps a measure from being taken: a package that is not installed, or input that it is not defined for."""

import importlib
from types import ModuleType

INSTALL_COMMAND = 'pip install "metis_jax[eval]"'


class EvaluationError(ValueError):
    """A request that makes no sense; the message is one line and names the remedy."""


class Unmeasurable(ValueError):
    """One measure is not defined for one example; the message is the reason that the table states."""


class MissingEvalExtra(ImportError):
    """A package of the optional `eval` extra is absent."""

    def __init__(self, package: str, command: str = INSTALL_COMMAND):
        super().__init__(f"needs the package {package}: {command}")
        self.package = package


def require(module: str, command: str = INSTALL_COMMAND) -> ModuleType:
    """Import a module of the `eval` extra, or say which command installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingEvalExtra((error.name or module).split(".")[0], command) from error
