"""Everything that a bundle is asked on held-out sets (`sets.py`), decoded and measured: one table per set.

    python nano/measure/tasks.py --bundle=BUNDLE --sets=SETS --output=DIR [--recognizer=WHISPER] [--only=se_5,vc]
        [--steps=10] [--guidance=1.0] [--seed=0] [--peer=NAME=FOLDER] [--of=outputs]

DIR/SET are the outputs, DIR/tables/SET.md their table, with every file in SET.json beside it, and DIR/tables.md all of
them.  A set that has its SET.json is done: the same command goes on behind it.  The recogniser is a Whisper folder that
no part was trained with.  --of=outputs leaves out the recordings that stand beside the outputs, --of=beside measures
those alone.  A peer's outputs, if it has any for a set, are in FOLDER/SET (`benchmarks/peers.py` makes them).
"""

import argparse
import dataclasses
import json
import pathlib
import sys
from collections.abc import Iterator, Sequence

from metis_jax.cli import evaluate, infer
from nano.measure.sets import DEGRADED

_OWN = "nano"
OUTPUTS, BESIDE = "outputs", "beside"
TABLES = "tables"


@dataclasses.dataclass(frozen=True)
class Asked:
    """How one set is decoded and measured; places are folders of the sets.

    `beside` are recordings that stand in the table for comparison, by name.
    """

    task: str
    metrics: str
    references: str
    beside: dict[str, str]
    voices: dict[str, str] = dataclasses.field(default_factory=dict)


SETS = {
    **{
        f"se_{how}": Asked("se", "wer,dwer,dnsmos,stoi,similarity", "clean", {"clean": "clean", "noisy": f"se_{how}"})
        for how in (20, 15, 10, 5, 0, -5, *DEGRADED)
    },
    "tse": Asked(
        "tse",
        "wer,dnsmos,stoi,similarity",
        "tse/target",
        {"mixture": "tse/mixture"},
        {"prompts": "tse/prompt", "interferers": "tse/interferer"},
    ),
    "vc": Asked(
        "vc",
        "wer,dnsmos,similarity",
        "",
        {"source": "vc/source"},
        {"prompts": "vc/prompt", "sources": "vc/source"},
    ),
    **{
        f"tts_{voices}": Asked(
            "tts", "wer,dnsmos,similarity,duration", "tts_unseen/reference", {}, {"prompts": f"tts_{voices}/prompt"}
        )
        for voices in ("unseen", "seen")
    },
}


def decoded(name: str, flags: argparse.Namespace) -> list[str]:
    """Arguments of `infer.py`; the jobs of the set with outputs in its folder of the output."""
    place = flags.output / name
    place.mkdir(parents=True, exist_ok=True)
    jobs = [json.loads(line) for line in (flags.sets / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    lines = [json.dumps(job | {"output": str(place / pathlib.Path(job["output"]).name)}) for job in jobs]
    (flags.output / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    asked = {flag: getattr(flags, flag) for flag in ("steps", "guidance", "seed")}
    return [
        f"--task={SETS[name].task}",
        f"--list={flags.output / name}.jsonl",
        f"--bundle={flags.bundle}",
        *(f"--{flag}={value}" for flag, value in asked.items() if value is not None),
    ]


def measured(name: str, flags: argparse.Namespace) -> list[str]:
    """Arguments of `evaluate.py`."""
    asked = SETS[name]
    systems = {}
    if flags.of != OUTPUTS:
        systems |= {other: flags.sets / place for other, place in asked.beside.items()}
        for peer in flags.peer:
            called, _, folder = peer.partition("=")
            if (place := pathlib.Path(folder, name).resolve()).is_dir():
                systems[called] = place
    if flags.of != BESIDE:
        systems[_OWN] = flags.output / name
    places = asked.voices | ({"references": asked.references} if asked.references else {})
    return [
        f"--outputs={','.join(f'{system}={place}' for system, place in systems.items())}",
        *(f"--{role}={flags.sets / place}" for role, place in places.items()),
        f"--texts={flags.sets / 'texts.jsonl'}",
        f"--metrics={asked.metrics}",
        f"--report={flags.output / TABLES / name}",  # .md, .csv and last .json
        *([f"--recognizer={flags.recognizer}"] if flags.recognizer else []),
    ]


def tables(output: pathlib.Path) -> Iterator[str]:
    for name in SETS:
        table = output / TABLES / f"{name}.md"
        if table.exists():
            yield f"## {name}\n\n{table.read_text(encoding='utf-8')}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Decodes and measures the held-out sets.")
    parser.add_argument("--bundle", default="", help="the model; not for --of=beside")
    parser.add_argument("--sets", required=True, type=pathlib.Path)
    parser.add_argument("--output", required=True, type=pathlib.Path)
    parser.add_argument("--recognizer", default="")
    parser.add_argument("--peer", action="append", default=[], help="NAME=FOLDER with a folder of outputs per set")
    parser.add_argument("--of", choices=("both", OUTPUTS, BESIDE), default="both", help="what is measured")
    parser.add_argument("--only", default=",".join(SETS))
    parser.add_argument("--steps", type=int, help="of stage 1; as the bundle has them by default")
    parser.add_argument("--guidance", type=float, help="of stage 1; as the bundle has it by default")
    parser.add_argument("--seed", type=int, help="of the noise")
    flags = parser.parse_args(arguments)
    if not flags.bundle and flags.of != BESIDE:
        parser.error("give --bundle=BUNDLE")
    flags.sets, flags.output = flags.sets.resolve(), flags.output.resolve()
    (flags.output / TABLES).mkdir(parents=True, exist_ok=True)
    for name in filter(None, flags.only.split(",")):
        if name not in SETS:
            parser.error(f"there is no set {name!r}; there are {', '.join(SETS)}")
        if not (flags.sets / f"{name}.jsonl").exists() or (flags.output / TABLES / f"{name}.json").exists():
            continue
        if flags.of == BESIDE and not SETS[name].beside:
            continue
        commands = [] if flags.of == BESIDE else [(infer, decoded(name, flags))]
        for command, line in (*commands, (evaluate, measured(name, flags))):
            print("$", command.__name__.rpartition(".")[2], *line, flush=True)
            if status := command.main(line):
                return status
    (flags.output / "tables.md").write_text("\n".join(tables(flags.output)), encoding="utf-8")
    print(flags.output / "tables.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
