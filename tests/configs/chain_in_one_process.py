"""Every step of the nano chain in a row, in one process: to start one for each command takes longer than what it does.

python tests/configs/chain_in_one_process.py FOLDER
"""

import pathlib
import subprocess
import sys

from configs.nano import chain
from metis_jax.cli import assemble, extract_tokens, train

SHORT = {"steps": 2, "eval_every": 0, "sample_every": 0, "tokens_per_device": 150}
# Stages that no other experiment has; the others are evaluated and shown in tests/cli/test_train_command.py.
SHOWN = dict.fromkeys(("ssl_denoising", "semantic_autoencoder"), {"eval_every": 2, "sample_every": 2})


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
    experiments = [path.stem for path in pathlib.Path(chain.__file__).parent.glob("*.py")]
    changes = {name: (SHORT | SHOWN.get(name, {})).items() for name in experiments}
    flags = {name: tuple(f"--config.{key}={value}" for key, value in items) for name, items in changes.items()}
    for step in chain.Chain(folder, "", quicktest=True, overrides=flags).steps():
        for command in step.commands:
            call(command)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
