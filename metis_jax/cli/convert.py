"""The authors' published weights to a bundle, and back; the encoder of Whisper to one.

metis-convert --official=DIR[,DIR2,hub:amphion/MaskGCT] --output=BUNDLE
metis-convert --bundle=BUNDLE --export=DIR
metis-convert --whisper=DIR --output=BUNDLE
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags
from tqdm import tqdm

from metis_jax.cli import command
from metis_jax.convert.official import convert_official, export_official
from metis_jax.convert.published import Root, download
from metis_jax.convert.whisper import convert_whisper
from metis_jax.weights.bundle import Bundle


def _flags() -> flags.FlagValues:
    values = command.new_flags()
    flags.DEFINE_list(
        "official",
        [],
        "Folders that hold the published repositories (amphion/MaskGCT, amphion/metis, facebook/w2v-bert-2.0) or are "
        "one of them; hub:OWNER/NAME[@REVISION] downloads one (extra `hub`).",
        flag_values=values,
    )
    flags.DEFINE_string(
        "whisper",
        None,
        "The folder of a Whisper model (model.safetensors of openai/whisper-*, or a CTranslate2 model.bin), of which "
        "the encoder is converted.",
        flag_values=values,
    )
    flags.DEFINE_string("output", None, "The bundle to write.", flag_values=values)
    flags.DEFINE_string("bundle", None, "The bundle to read.", flag_values=values)
    flags.DEFINE_string("export", None, "The folder to write in the authors' layout.", flag_values=values)
    flags.DEFINE_string(
        "statistics", None, "SSL feature statistics (.npz with mean and var), if not in a folder.", flag_values=values
    )
    flags.DEFINE_string("only", "*", "Convert only components whose names match this glob.", flag_values=values)
    return values


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 2 with one line on stderr."""
    return command.run("convert", __doc__, _flags(), _run, argv)


def _run(given: flags.FlagValues) -> None:
    ways = {
        ("official", "output"): _convert,
        ("bundle", "export"): _export,
        ("whisper", "output"): _convert_whisper,
    }
    named = {name for way in ways for name in way if given[name].value}
    way = next((run for names, run in ways.items() if set(names) == named), None)
    if way is None:
        raise ValueError(
            "give --official=DIR --output=BUNDLE, --whisper=DIR --output=BUNDLE or --bundle=BUNDLE --export=DIR"
        )
    way(given)


def _convert(given: flags.FlagValues) -> None:
    roots = [
        download(name.removeprefix("hub:")) if name.startswith("hub:") else Root(Path(name)) for name in given.official
    ]
    statistics = _path(given.statistics)
    with tqdm(unit="B", unit_scale=True, leave=False, disable=None) as bar:
        bundle = convert_official(
            roots, Path(given.output), statistics=statistics, only=given.only, progress=_advance(bar)
        )
    print(f"{given.output}: {', '.join(bundle.components)}")
    print(f"tasks: {', '.join(bundle.tasks) or 'none'}; licence of the weights: {bundle.info['license']}")


def _convert_whisper(given: flags.FlagValues) -> None:
    with tqdm(unit="B", unit_scale=True, leave=False, disable=None) as bar:
        bundle = convert_whisper(
            Path(given.whisper), Path(given.output), statistics=_path(given.statistics), progress=_advance(bar)
        )
    print(f"{given.output}: {', '.join(bundle.components)}; licence of the weights: {bundle.info['license']}")


def _path(name: str | None) -> Path | None:
    return Path(name) if name else None


def _export(given: flags.FlagValues) -> None:
    with tqdm(unit="B", unit_scale=True, leave=False, disable=None) as bar:
        left_out = export_official(Bundle(given.bundle), Path(given.export), progress=_advance(bar))
    print(given.export)
    if left_out:
        print(f"left out, as the published layout has no place for it: {', '.join(left_out)}")


def _advance(bar: tqdm) -> Callable[[str, int], None]:
    def advance(component: str, nbytes: int) -> None:
        bar.set_description(component, refresh=False)
        bar.update(nbytes)

    return advance


if __name__ == "__main__":
    sys.exit(main())
