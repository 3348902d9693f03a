"""Every step of the nano chain in a row, in one process: to start one for each command takes longer than what it does.

python tests/nano/chain_in_one_process.py FOLDER
"""

import pathlib
import subprocess
import sys

from metis_jax.cli import assemble, extract_tokens, train
from nano import chain

SHORT = {"steps": 2, "eval_every": 0, "sample_every": 0, "tokens_per_device": 150}


def call(command: tuple[str, ...]) -> None:
    match command:
        case (_, "train.py", *_):
            status = train.main(command[2:])
        case (_, "data/extract_tokens.py", *flags):
            status = extract_tokens.main(flags)
        case (_, "-m", "metis_jax.cli.assemble", *flags):
            status = assemble.main(flags)
        case _:
            status = subprocess.run(command, check=False).returncode
    if status:
        sys.exit(f"{command}: exit status {status}")


def main(folder: pathlib.Path) -> None:
    short = tuple(f"--config.{key}={value}" for key, value in SHORT.items())
    names = [step.name for step in chain.Chain(folder, (), "", quicktest=True, overrides={}).steps()]
    for step in chain.Chain(folder, (), "", quicktest=True, overrides=dict.fromkeys(names, short)).steps():
        for command in step.commands:
            call(command)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
