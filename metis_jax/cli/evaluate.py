"""Outputs of one or more systems to one table of measures with bootstrap intervals.

    python evaluate.py --references=clean/ --outputs=enhanced/ --texts=manifest.jsonl
    python evaluate.py --references=clean/ --outputs=noisy=noisy/,ours=enhanced/,peer=other/ --report=se.md
    python evaluate.py --outputs=converted.txt --prompts=prompts.txt --sources=sources.txt --metrics=similarity,dnsmos

A place is a folder, an audio file, or a text file with one path per line.  Folders pair by name, lists line by line.
"""

import sys
from collections.abc import Sequence

from absl import flags
from tqdm import tqdm

from metis_jax.cli import command
from metis_jax.evaluation.errors import EvaluationError
from metis_jax.evaluation.measure import DEFAULT_GROUPS, GROUPS, Evaluator, measures_of
from metis_jax.evaluation.pairing import find_audio, make_examples, read_texts
from metis_jax.evaluation.recognizer import check_recognizer
from metis_jax.evaluation.report import System, Table, markdown, report_paths, write_report
from metis_jax.evaluation.speakers import ENCODERS

_ROLES = {"reference": "references", "prompt": "prompts", "source": "sources", "interferer": "interferers"}


def _flags() -> flags.FlagValues:
    values = command.new_flags()
    flags.DEFINE_list("outputs", [], "What to measure: PATH, or NAME=PATH for each of several.", flag_values=values)
    flags.DEFINE_string("references", None, "Clean recordings of the same performances.", flag_values=values)
    flags.DEFINE_string("prompts", None, "Recordings of the target speaker (vc, tse, tts).", flag_values=values)
    flags.DEFINE_string("sources", None, "What was converted (vc).", flag_values=values)
    flags.DEFINE_string(
        "interferers", None, "Recordings of the other speaker in the mixture (tse).", flag_values=values
    )
    flags.DEFINE_string("texts", None, "JSON lines with `path` (or output, audio, id) and `text`.", flag_values=values)
    flags.DEFINE_list("metrics", list(DEFAULT_GROUPS), f"Some of {', '.join(GROUPS)}.", flag_values=values)
    flags.DEFINE_string(
        "report",
        "evaluation",
        "File to write, .md, .csv or .json; without such a suffix all three. Empty: print only.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "recognizer", None, "A CTranslate2 Whisper folder instead of the packaged tiny.en.", flag_values=values
    )
    flags.DEFINE_string("language", "en", "The language spoken, for the recogniser.", flag_values=values)
    flags.DEFINE_enum("speaker_model", "voicefilter", list(ENCODERS), "The speaker encoder.", flag_values=values)
    flags.DEFINE_integer("seed", 0, "Of the bootstrap.", lower_bound=0, flag_values=values)
    return values


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 2 with one line on stderr."""
    return command.run("evaluate", __doc__, _flags(), _run, argv)


def _run(given: flags.FlagValues) -> None:
    if not given.outputs:
        raise EvaluationError("give --outputs=DIR, and --references=DIR for what compares with clean recordings")
    places = {role: find_audio(given[flag].value, f"--{flag}") for role, flag in _ROLES.items() if given[flag].value}
    texts = read_texts(given.texts) if given.texts else None
    examples = {
        name: make_examples(find_audio(location, "--outputs"), places, texts)
        for name, location in _systems(given.outputs).items()
    }
    if not given.metrics:
        raise EvaluationError(f"--metrics is empty; give some of {', '.join(GROUPS)}")
    measures = measures_of(given.metrics, places)
    paths = report_paths(given.report) if given.report else []
    if given.recognizer:
        check_recognizer(given.recognizer)
    evaluator = Evaluator(
        recognizer_folder=given.recognizer, language=given.language, speaker_model=given.speaker_model
    )
    systems = [
        System(name, {example.name: evaluator.measure(example, measures) for example in tqdm(chosen, desc=name)})
        for name, chosen in examples.items()
    ]
    table = Table(measures, systems, given.seed, evaluator.describe())
    print(markdown(table), end="")
    write_report(table, paths)
    for role, place in places.items():
        left = len(place.paths) - min(len(chosen) for chosen in examples.values())
        if left > 0:
            print(f"{place.flag}: {left} {role} files have no output", file=sys.stderr)
    for path in paths:
        print(path)


def _systems(outputs: Sequence[str]) -> dict[str, str]:
    """Locations by name; one without a name is called by its path."""
    systems: dict[str, str] = {}
    for entry in outputs:
        name, _, location = entry.rpartition("=")
        name = name or location
        if not location or name in systems:
            raise EvaluationError(
                f"--outputs={','.join(outputs)}: {'a path is missing' if not location else f'{name!r} is there twice'}"
            )
        systems[name] = location
    return systems


if __name__ == "__main__":
    sys.exit(main())
