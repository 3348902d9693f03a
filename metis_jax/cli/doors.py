"""The installed commands: each is imported when it is called, or says in one line which extra it needs.

A default installation has what inference takes; training, the page and the server have packages of their own.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable


def _door(command: str, extra: str, *, needs: str | None = None) -> Callable[[], int]:
    """The command in `metis_jax/cli`, whose packages are those of an extra.

    `needs` is one of them that only the processes import which the command starts.
    """

    def main() -> int:
        try:
            if needs and importlib.util.find_spec(needs) is None:
                raise ModuleNotFoundError(name=needs)
            return importlib.import_module(f"metis_jax.cli.{command}").main()
        except ModuleNotFoundError as error:
            missing = error.name or str(error)
            if missing.startswith("metis_jax"):
                raise
            print(f"{command}: {missing} is not installed; pip install 'metis_jax[{extra}]'", file=sys.stderr)
            return 2

    return main


app = _door("app", "app")
build_tfds = _door("build_tfds", "train")
evaluate = _door("evaluate", "eval")
extract_tokens = _door("extract_tokens", "train")
launch = _door("launch", "train", needs="ml_collections")
prepare = _door("prepare", "train")
scale = _door("scale", "train")
serve = _door("serve", "serve")
train = _door("train", "train")
tune = _door("tune", "train")
