"""Are our models the authors'?  Runs every golden file of a directory and prints one line per array.

    python -m metis_jax.parity --goldens=DIR [--reference=DIR_WITH_recipe_AND_specs]

A golden holds inputs and outputs of the authors' modules at weights drawn by `recipe.py`, at the `seed` that its entry
of the index says (0 unless it does).  The weights come to us through the rules of the converter, so that it is under
test too, and one model is in memory at a time.  The golden's name says what it exercises; an unknown name is an error.
Exit status: 0; 1 when an array is outside tolerance; 2 when a file is missing, damaged or unknown.
"""

import dataclasses
import fnmatch
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
import numpy as np
from absl import flags

from metis_jax.files.inputs import InputError, read_arrays, read_json
from metis_jax.parity.models import CHECKS, Arrays, Found, Golden
from metis_jax.parity.reference import Reference
from metis_jax.weights.tensor_files import WeightsError

# Arrays of a golden that are only inputs.
_MODEL_INPUTS = frozenset(
    "tokens timestep mask padding_mask condition phones phone_mask decode_prompt decode_length decode_condition "
    "decode_condition_noprompt decode_phones decode_semantic decode_steps given_layer1 semantic_tokens acoustic_tokens "
    "mask_layer prompt_length features is_valid waveform waveform_odd waveform_even".split()
)
_PIPELINE_INPUTS = frozenset(("source_16k", "prompt_16k", "prompt_24k"))


@dataclasses.dataclass(frozen=True)
class Limits:
    """What passes: the relative error of floats and the share of equal integers."""

    relative: float
    equal: float


TINY = Limits(relative=1e-4, equal=1.0)
FULL = Limits(relative=2e-4, equal=0.995)


@dataclasses.dataclass(frozen=True)
class Line:
    """The verdict on one array; for integers the relative error is the share that differs."""

    golden: str
    array: str
    worst: float
    relative: float
    verdict: str

    def __str__(self) -> str:
        return f"{self.golden:20s} {self.array:26s} {self.worst:10.3e} {self.relative:10.3e}  {self.verdict}"


def compare(golden: str, name: str, expected: np.ndarray, found: Found, limits: Limits) -> Line:
    """Judges one array."""
    if found.array.shape != expected.shape:
        return Line(golden, name, np.inf, np.inf, f"FAIL shape {found.array.shape}, expected {expected.shape}")
    where = np.broadcast_to(True if found.where is None else found.where, expected.shape)
    ours, theirs = found.array[where].astype(np.float64), expected[where].astype(np.float64)
    error = np.abs(ours - theirs)
    worst = float(error.max(initial=0.0))
    if np.issubdtype(expected.dtype, np.floating):
        relative = float(np.linalg.norm(error) / max(np.linalg.norm(theirs), np.finfo(np.float64).tiny))
        passed = relative <= limits.relative
    else:
        relative = float(np.mean(error != 0)) if error.size else 0.0
        passed = relative <= 1 - limits.equal
    return Line(golden, name, worst, relative, "ok" if passed else "FAIL")


def check_golden(golden: Golden, reference: Reference) -> Iterator[Line]:
    """One line per array of a golden that is not an input."""
    found = CHECKS[golden.name](golden, reference.at(golden.seed))
    inputs = _PIPELINE_INPUTS if golden.name.startswith("mini_pipeline_") else _MODEL_INPUTS
    for name, expected in golden.arrays.items():
        if name in found:
            yield compare(golden.name, name, expected, found[name], FULL if golden.is_full else TINY)
        elif name not in inputs:
            yield Line(golden.name, name, np.inf, np.inf, "FAIL not computed")


def read_goldens(directory: Path) -> Iterator[Golden]:
    """Every golden that the index lists; each is checked to be one we know before any is run."""
    index_path = directory / "index.json"
    if not index_path.is_file():
        raise WeightsError(f"{directory}: not a folder of goldens, index.json is missing")
    try:
        index = read_json(index_path)
    except InputError as error:
        raise WeightsError(str(error)) from None
    unlisted = sorted(path.stem for path in directory.glob("*.npz") if path.stem not in index)
    for name in [*index, *unlisted]:
        if name not in CHECKS:
            raise WeightsError(f"{directory}: golden {name!r} is unknown; known: {', '.join(CHECKS)}")
    for name, entry in index.items():
        if missing := {"config", "arrays"} - set(entry):
            raise WeightsError(f"{index_path}: entry {name!r} has no {min(missing)!r}")
        if type(entry.get("seed", 0)) is not int:
            raise WeightsError(f"{index_path}: seed of {name!r} is {entry['seed']!r}; it must be an integer")
    for name, entry in index.items():
        arrays = _read_arrays(directory / f"{name}.npz")
        missing = sorted(set(entry["arrays"]) - set(arrays))
        if missing:
            raise WeightsError(f"{directory / name}.npz: array {missing[0]!r} is missing")
        is_full = any(array.endswith("_slice") for array in arrays)
        yield Golden(name, arrays, entry["config"], is_full, entry.get("seed", 0))


def _read_arrays(path: Path) -> Arrays:
    try:
        return read_arrays(path)
    except InputError as error:
        raise WeightsError(str(error)) from None


def main(argv: Sequence[str] | None = None) -> int:
    given = flags.FlagValues()
    flags.DEFINE_string("goldens", None, "Folder of golden files.", flag_values=given)
    flags.DEFINE_string(
        "reference", None, "Folder of recipe.py and specs/; by default the parent of --goldens.", flag_values=given
    )
    flags.DEFINE_string("only", "*", "Check only goldens whose names match this glob.", flag_values=given)
    try:
        given(list(sys.argv if argv is None else argv))
        if not given.goldens:
            raise WeightsError("give --goldens=DIR")
        directory = Path(given.goldens)
        reference = Reference(Path(given.reference) if given.reference else directory.absolute().parent)
        lines = []
        for golden in read_goldens(directory):
            if not fnmatch.fnmatch(golden.name, given.only):
                continue
            with jax.default_matmul_precision("highest"):
                for line in check_golden(golden, reference):
                    print(line, flush=True)
                    lines.append(line)
    except (ValueError, flags.Error) as error:
        print(f"parity: {error}", file=sys.stderr)
        return 2
    failed = sum(line.verdict != "ok" for line in lines)
    print(f"{len(lines)} arrays: {len(lines) - failed} ok, {failed} FAIL")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
