"""Outputs of one or more systems to one table of measures with bootstrap intervals.

    metis-evaluate --references=clean/ --outputs=enhanced/ --texts=manifest.jsonl
    metis-evaluate --references=clean/ --outputs=noisy=noisy/,ours=enhanced/,peer=other/ --report=se.md
    metis-evaluate --outputs=converted.txt --prompts=prompts.txt --sources=sources.txt --metrics=similarity,dnsmos
    metis-evaluate --suite=seedtts --suite_path=seedtts_testset/en --jobs=said.jsonl
    metis-evaluate --suite=seedtts --suite_path=seedtts_testset/en --outputs=said

A place is a folder, an audio file, or a text file with one path per line.  Folders pair by name, lists line by line.
Several systems are compared on the same files.  A suite is a published test set: its jobs are for `metis-infer --list`,
and the paper's figures stand beside what was measured.
"""

import sys
from collections.abc import Mapping, Sequence

from absl import flags
from tqdm import tqdm

from metis_jax.cli import command
from metis_jax.evaluation.errors import EvaluationError, MissingEvalExtra
from metis_jax.evaluation.measure import DEFAULT_GROUPS, GROUPS, Evaluator, measures_of
from metis_jax.evaluation.pairing import Example, find_audio, make_examples, read_texts
from metis_jax.evaluation.recognizer import check_recognizer
from metis_jax.evaluation.report import System, Table, markdown, report_paths, write_report
from metis_jax.evaluation.speakers import ENCODERS, check_speaker_model
from metis_jax.evaluation.suites import SUITES, Item, Suite, examples_of, read_suite, write_jobs

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
    flags.DEFINE_string("language", "en", "The language spoken; zh, ja and ko count characters.", flag_values=values)
    flags.DEFINE_string(
        "speaker_model",
        "voicefilter",
        f"The speaker encoder: {', '.join(ENCODERS)}, or a file PATH.onnx of a wave [1, l] at 16 kHz to [1, d].",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "wer",
        None,
        ["pooled", "utterance"],
        "Error rates: all edits over all words, or the mean of the utterances'; pooled, or as the suite's authors do.",
        flag_values=values,
    )
    flags.DEFINE_list(
        "compare", None, "Two systems, FIRST,SECOND; by default the first with each other one.", flag_values=values
    )
    flags.DEFINE_enum("suite", None, list(SUITES), "A published test set.", flag_values=values)
    flags.DEFINE_string("suite_path", None, "Its folder, or its list.", flag_values=values)
    flags.DEFINE_string("jobs", None, "FOLDER.jsonl to write: the suite's jobs for metis-infer.", flag_values=values)
    flags.DEFINE_integer("seed", 0, "Of the bootstrap.", lower_bound=0, flag_values=values)
    return values


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 2 with one line on stderr."""
    return command.run("evaluate", __doc__, _flags(), _run, argv, refusals=(MissingEvalExtra,))


def _run(given: flags.FlagValues) -> None:
    suite, items = _suite(given)
    if suite and given.jobs:
        folder = write_jobs(given.jobs, items, language=given.language if suite.task == "tts" else None)
        print(f"{given.jobs}: {len(items)} jobs for metis-infer {suite.task} --list={given.jobs}, into {folder}")
        if not given.outputs:
            return
    if not given.outputs:
        raise EvaluationError("give --outputs=DIR, and --references=DIR for what compares with clean recordings")
    places = {role: find_audio(given[flag].value, f"--{flag}") for role, flag in _ROLES.items() if given[flag].value}
    texts = read_texts(given.texts) if given.texts else None
    outputs = {name: find_audio(location, "--outputs") for name, location in _systems(given.outputs).items()}
    pairs = _pairs(list(outputs), given.compare)
    if suite:
        examples = {name: examples_of(items, place) for name, place in outputs.items()}
        roles = [role for role in _ROLES if getattr(items[0], role)]
    else:
        examples = {name: make_examples(place, places, texts) for name, place in outputs.items()}
        roles = list(places)
    if not given.metrics:
        raise EvaluationError(f"--metrics is empty; give some of {', '.join(GROUPS)}")
    is_pooled = given.wer == "pooled" if given.wer else suite is None or suite.is_pooled
    measures = measures_of(given.metrics, roles, language=given.language, is_pooled=is_pooled)
    if suite and not given["metrics"].present:
        measures = [measure for measure in measures if measure.key in suite.measures]
    paths = report_paths(given.report) if given.report else []
    if given.recognizer:
        check_recognizer(given.recognizer)
    check_speaker_model(given.speaker_model)
    evaluator = Evaluator(
        recognizer_folder=given.recognizer,
        language=given.language,
        speaker_model=given.speaker_model,
        is_pooled=is_pooled,
    )
    systems = [
        System(name, {example.name: evaluator.measure(example, measures) for example in tqdm(chosen, desc=name)})
        for name, chosen in examples.items()
    ]
    table = Table(
        measures,
        systems,
        given.seed,
        evaluator.describe(),
        pairs=pairs,
        published=suite.published if suite else {},
        notes=_notes(suite, items, examples) if suite else (),
    )
    print(markdown(table), end="")
    write_report(table, paths)
    for role, place in places.items():
        left = len(place.paths) - min(len(chosen) for chosen in examples.values())
        if left > 0:
            print(f"{place.flag}: {left} {role} files have no output", file=sys.stderr)
    for path in paths:
        print(path)


def _suite(given: flags.FlagValues) -> tuple[Suite | None, list[Item]]:
    """The suite and its items, which say themselves what an output is measured against."""
    if not given.suite:
        if lone := [name for name in ("suite_path", "jobs") if given[name].value is not None]:
            raise EvaluationError(f"--{lone[0]} needs --suite, one of {', '.join(SUITES)}")
        return None, []
    if not given.suite_path:
        raise EvaluationError(f"--suite={given.suite} needs --suite_path=DIR, where the test set lies")
    if own := [flag for flag in (*_ROLES.values(), "texts") if given[flag].value]:
        raise EvaluationError(f"--suite={given.suite} has {own[0]} of its own; leave out --{own[0]}")
    return SUITES[given.suite], read_suite(given.suite, given.suite_path)


def _notes(suite: Suite, items: Sequence[Item], examples: Mapping[str, Sequence[Example]]) -> list[str]:
    lacking = {name: len(items) - len(chosen) for name, chosen in examples.items()}
    return [
        *(f"{name} has no output for {count} of {len(items)} items." for name, count in lacking.items() if count),
        "The paper's figures are of other recognisers and speaker encoders than the packaged ones.",
        *suite.notes,
    ]


def _pairs(names: Sequence[str], compare: Sequence[str] | None) -> list[tuple[str, str]]:
    """Which systems are compared: the two that are named, or the first with each other one."""
    if compare is None:
        return [(names[0], other) for other in names[1:]]
    if len(compare) != 2 or len(set(compare)) != 2 or not set(compare) <= set(names):
        raise EvaluationError(
            f"--compare={','.join(compare)}: name two of the systems in --outputs, {', '.join(names)}"
        )
    return [(compare[0], compare[1])]


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
