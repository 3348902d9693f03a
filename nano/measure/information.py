"""What tokens hold: how much a single token says of the phone, the speaker, the pitch and the loudness of its frame.

    python nano/measure/information.py --shards=TOKEN_SHARDS --frames=FRAMES.npz
    python nano/measure/information.py --frames=FRAMES.npz --codebook=ssl --output=DIR

The shards are those of `extract_tokens --arrays=ssl_tokens,acoustic_tokens`, of speech whose phones have bounds
(`make_speech.py`).  The first command writes token and label of every frame; the second measures one codebook, `ssl` or
`level_1` and so on, and writes DIR/tables/{phone,speaker,pitch,loudness}.json as `evaluate.py` writes tables.

The value of a recording is the information of its tokens about a label, as a share of the label's entropy:
log p(label | token) - log p(label), on average over its frames, with probabilities counted in other recordings.  Means
over recordings so never rise by chance, and are a lower bound of the mutual information.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Iterator, Sequence

import librosa
import numpy as np
from jaxtyping import Float, Int

from metis_jax.audio.waves import read_wave, resample
from metis_jax.cli.command import exit_status
from metis_jax.clock import FRAME_RATE, SSL_HOP, SSL_RATE
from metis_jax.data.corpus.corpus import Corpus, Selection
from metis_jax.data.corpus.records import Record
from metis_jax.files.outputs import new_file, write_text
from metis_jax.text.vocabulary import table_size
from metis_jax.training.trainers.phonetic_codec import phone_labels
from nano.measure.tasks import TABLES

LABELS = ("phone", "speaker", "pitch", "loudness")
SSL = "ssl"
BINS = 12  # of pitch and of loudness, each with as many frames
MEASURE = "information"
_FOLDS = 5
_PRIORS = (1.0, 10.0, 100.0, 1000.0)  # frames of the prior that a token's own counts are added to
_LOWEST, _HIGHEST = 60.0, 500.0  # Hz


def level(number: int) -> str:
    """The name of an acoustic codebook, from 1 on."""
    return f"level_{number}"


def phones_of(bounds: Float[np.ndarray, " p+1"], phones: Int[np.ndarray, " p"], frames: int) -> Int[np.ndarray, " t"]:
    """The sound in the middle of every frame; 0 where there is none."""
    middles = (np.arange(frames) + 0.5) / FRAME_RATE
    places = np.searchsorted(bounds, middles, side="right") - 1
    is_within = (places >= 0) & (places < len(phones))
    sounds = np.maximum(phone_labels(table_size())[phones], 0)
    return np.where(is_within, sounds[np.clip(places, 0, len(phones) - 1)], 0)


def frames_of(record: Record) -> dict[str, np.ndarray]:
    """Tokens and labels of every frame; pitch in Hz, NaN where there is no voice, and loudness in dB."""
    wave = resample(*read_wave(record.audio, record.id), SSL_RATE)
    ssl, acoustic = record.arrays["ssl_tokens"], record.arrays["acoustic_tokens"]
    pitch, _, _ = librosa.pyin(wave, fmin=_LOWEST, fmax=_HIGHEST, sr=SSL_RATE, frame_length=1024, hop_length=SSL_HOP)
    frames = min(len(ssl), len(acoustic), len(pitch), len(wave) // SSL_HOP)
    power = np.mean(np.square(wave[: frames * SSL_HOP].reshape(frames, SSL_HOP)), axis=1)
    return {
        SSL: ssl[:frames],
        **{level(number + 1): acoustic[:frames, number] for number in range(acoustic.shape[1])},
        "phone": phones_of(record.arrays["phone_bounds"], record.arrays["phones"], frames),
        "pitch": pitch[:frames],
        "loudness": 10 * np.log10(power + 1e-10),
    }


def collect(corpus: Corpus) -> dict[str, np.ndarray]:
    """All frames of the speech that has tokens and bounds, and `record`, an index into `names`."""
    needed = {"ssl_tokens", "acoustic_tokens", "phones", "phone_bounds"}
    found, names, speakers = [], [], []
    chosen = corpus.select(Selection(split="all")).tolist()
    for place, index in enumerate(chosen):
        record = corpus[index]
        if needed <= set(record.arrays):
            found.append(frames_of(record))
            names.append(record.id)
            speakers.append(record.speaker)
        print(f"recording {place + 1} of {len(chosen)}", end="\r", flush=True)
    print()
    if not found:
        raise ValueError(
            f"no recording of the shards has all of {', '.join(sorted(needed))}; extract_tokens adds tokens"
        )
    joined = {name: np.concatenate([own[name] for own in found]) for name in found[0]}
    record = np.repeat(np.arange(len(found)), [len(own[SSL]) for own in found])
    _, speaker = np.unique(speakers, return_inverse=True)
    joined["pitch"] = np.where(np.isfinite(joined["pitch"]), 1 + in_bins(joined["pitch"]), 0)
    joined["loudness"] = in_bins(joined["loudness"])
    return joined | {"record": record, "speaker": speaker[record], "names": np.array(names)}


def in_bins(values: Float[np.ndarray, " t"]) -> Int[np.ndarray, " t"]:
    """The bin of every value, of `BINS` that have as many of the finite ones."""
    edges = np.quantile(values[np.isfinite(values)], np.arange(1, BINS) / BINS)
    return np.searchsorted(edges, values, side="right")


def information(
    tokens: Int[np.ndarray, " t"], labels: Int[np.ndarray, " t"], records: Int[np.ndarray, " t"]
) -> Float[np.ndarray, " t"]:
    """log p(label | token) - log p(label) of every frame over the mean of -log p(label): a share of the entropy.

    Probabilities of a frame are counted in the recordings of other folds, and how far few counts are trusted is what
    serves one of these best.
    """
    folds, size = records % _FOLDS, (int(tokens.max()) + 1, int(labels.max()) + 1)
    gain, surprise = np.zeros(len(tokens)), np.zeros(len(tokens))

    def told(is_known: np.ndarray, is_asked: np.ndarray, weight: float) -> tuple[np.ndarray, np.ndarray]:
        counts = np.zeros(size)
        np.add.at(counts, (tokens[is_known], labels[is_known]), 1)
        prior = (counts.sum(axis=0) + 1) / (counts.sum() + size[1])
        given = (counts + weight * prior) / (counts.sum(axis=1, keepdims=True) + weight)
        asked = labels[is_asked]
        return np.log(given[tokens[is_asked], asked] / prior[asked]), -np.log(prior[asked])

    for fold in range(_FOLDS):
        is_asked, is_next = folds == fold, folds == (fold + 1) % _FOLDS
        weight = max(_PRIORS, key=lambda weight: told(~is_asked & ~is_next, is_next, weight)[0].mean())
        gain[is_asked], surprise[is_asked] = told(~is_asked, is_asked, weight)
    return gain / surprise.mean()


def table(codebook: str, frames: dict[str, np.ndarray], label: str) -> dict[str, object]:
    """One label's values by recording, in the shape of a table of `evaluate.py`."""
    shares = information(frames[codebook], frames[label], frames["record"])
    counts = np.bincount(frames["record"])
    means = np.bincount(frames["record"], shares) / counts
    rows = {
        str(name): {MEASURE: {"value": round(float(mean), 5), "weight": int(count), "reason": ""}}
        for name, mean, count in zip(frames["names"], means, counts, strict=True)
    }
    return {"systems": {codebook: {"files": rows}}}


def _codebooks(frames: dict[str, np.ndarray]) -> Iterator[str]:
    return (name for name in frames if name == SSL or name.startswith(level(0)[:-1]))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", required=True, type=pathlib.Path, help="tokens and labels of all frames, .npz")
    parser.add_argument("--shards", action="append", help="token shards that the frames are made of; repeatable")
    parser.add_argument("--codebook", default="", help="ssl, level_1, level_2, ...")
    parser.add_argument("--output", type=pathlib.Path, help="folder of the tables")
    flags = parser.parse_args(arguments)
    return exit_status("information", lambda: _run(flags))


def _run(flags: argparse.Namespace) -> None:
    if bool(flags.shards) == bool(flags.codebook) or bool(flags.codebook) != bool(flags.output):
        raise ValueError("give --shards to make the frames, or --codebook and --output to measure them")
    if flags.shards:
        frames = collect(Corpus(flags.shards))
        with new_file(flags.frames) as partial, open(partial, "wb") as file:
            np.savez_compressed(file, **frames)
        print(f"{flags.frames}: {len(frames['record'])} frames of {len(frames['names'])} recordings")
        return
    with np.load(flags.frames, allow_pickle=False) as file:
        frames = dict(file)
    if flags.codebook not in (known := list(_codebooks(frames))):
        raise ValueError(f"--codebook={flags.codebook}: the frames have {', '.join(known)}")
    (flags.output / TABLES).mkdir(parents=True, exist_ok=True)
    for label in LABELS:
        found = table(flags.codebook, frames, label)
        write_text(flags.output / TABLES / f"{label}.json", json.dumps(found) + "\n")


if __name__ == "__main__":
    sys.exit(main())
