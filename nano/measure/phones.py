"""What SSL tokens keep of the words: phone errors of the CTC head that learned with the codes.

    python nano/measure/phones.py --bundle=BUNDLE --sets=SETS [--inputs=clean,se_10,se_5,se_0]

BUNDLE is the export of stage `phonetic_codec`: SSL encoder, codec and head; SETS are of `sets.py`.  The head has
the codes alone, as any model behind them; its greedy phones are compared with those of the text (sounds, without
marks).
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from metis_jax.audio.files import read_wave
from metis_jax.cli.command import exit_status
from metis_jax.clock import SSL_RATE, ssl_frames
from metis_jax.evaluation.bootstrap import estimate
from metis_jax.evaluation.words import edit_distance
from metis_jax.models.phone_head import PhoneHead
from metis_jax.models.semantic_codec import SemanticCodec
from metis_jax.models.ssl_features import make_ssl_encoder, wave_features
from metis_jax.objectives.phones import SILENCE
from metis_jax.text.frontend import TextFrontEnd
from metis_jax.text.vocabulary import table_size
from metis_jax.training.trainers.phonetic_codec import pass_by, phone_labels
from metis_jax.weights.bundle import Bundle


class Reader:
    """Phones and tokens of waves."""

    def __init__(self, bundle: Bundle, *, is_quantized: bool):
        self.parts = {name: bundle.load(name) for name in ("ssl_encoder", "semantic_codec", "phone_head")}
        encoder, codec, head = (
            make(self.parts[name][0])
            for name, make in (
                ("ssl_encoder", make_ssl_encoder),
                ("semantic_codec", SemanticCodec),
                ("phone_head", PhoneHead),
            )
        )

        def best(variables, vectors, lengths):
            return jnp.argmax(head.apply(variables["phone_head"], vectors, lengths)[1], axis=-1)

        @jax.jit
        def read(variables, wave, samples, lengths):
            features = wave_features(encoder, variables["ssl_encoder"], wave, samples)
            tokens, vectors = codec.apply(variables["semantic_codec"], features, lengths, method="quantize")
            if not is_quantized:
                vectors = codec.apply(variables["semantic_codec"], features, lengths, method=pass_by)
            return tokens, best(variables, vectors, lengths)

        @jax.jit
        def read_tokens(variables, tokens, lengths):
            return best(variables, codec.apply(variables["semantic_codec"], tokens, method="embed"), lengths)

        self._read, self._read_tokens = read, read_tokens
        self._variables = {name: variables for name, (_, variables) in self.parts.items()}

    def __call__(self, wave: Float[np.ndarray, " l"]) -> tuple[Int[np.ndarray, " t"], list[int]]:
        """SSL tokens of a 16 kHz wave, and the sounds that the head finds in them."""
        padded = np.pad(wave, (0, -len(wave) % (2 * SSL_RATE) + SSL_RATE // 10))[None]
        frames = ssl_frames(len(wave))
        tokens, found = self._read(self._variables, padded, jnp.array([len(wave)]), jnp.array([frames]))
        return np.asarray(tokens)[0, :frames], _sounds(np.asarray(found)[0, :frames])

    def phones(self, tokens: Int[np.ndarray, " t"]) -> list[int]:
        """The sounds that the head finds in tokens."""
        padded = np.pad(tokens, (0, -len(tokens) % 100))[None]
        found = self._read_tokens(self._variables, padded, jnp.array([len(tokens)]))
        return _sounds(np.asarray(found)[0, : len(tokens)])


class Sounds:
    """Ids of the sounds of an English text, without marks."""

    def __init__(self):
        self._front_end, self._labels = TextFrontEnd(), phone_labels(table_size())

    def of(self, text: str) -> list[int]:
        return [one for one in self._front_end.read(text, "en").ids if self._labels[one] > SILENCE]


def errors(edits: Sequence[float], lengths: Sequence[int]) -> str:
    """The share of sounds that are wrong, and its interval over files, if there are several."""
    weights = np.asarray(lengths, float)
    found = estimate(np.asarray(edits) / weights, weights, seed=0)
    return f"{found.mean:.1%}" + ("" if found.low is None else f" [{found.low:.1%}, {found.high:.1%}]")


def texts_of(sets: pathlib.Path) -> dict[str, str]:
    """{file: what is said in it} of held-out sets (`sets.py`)."""
    rows = map(json.loads, (sets / "texts.jsonl").read_text(encoding="utf-8").splitlines())
    return {row["path"]: row["text"] for row in rows}


def _sounds(best: Int[np.ndarray, " t"]) -> list[int]:
    """Greedy CTC."""
    changes = best[np.concatenate([[True], best[1:] != best[:-1]])]
    return [int(one) for one in changes if one != SILENCE]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--sets", required=True, type=pathlib.Path)
    parser.add_argument("--inputs", default="clean,se_10,se_5,se_0")
    parser.add_argument("--continuous", action="store_true", help="without codes, as the first part is trained")
    flags = parser.parse_args(arguments)
    return exit_status("phones", lambda: _run(flags))


def _run(flags: argparse.Namespace) -> None:
    reader, sounds = Reader(Bundle(flags.bundle), is_quantized=not flags.continuous), Sounds()
    texts = {name: sounds.of(text) for name, text in texts_of(flags.sets).items()}
    clean: dict[str, np.ndarray] = {}
    for name in flags.inputs.split(","):
        edits, lengths, same = [], [], []
        for path in sorted((flags.sets / name).glob("*.wav")):
            if path.name not in texts:
                continue
            tokens, found = reader(read_wave(path).at(SSL_RATE))
            edits.append(edit_distance(texts[path.name], found))
            lengths.append(len(texts[path.name]))
            clean.setdefault(path.name, tokens)
            same.append(np.mean(clean[path.name] == tokens))
        print(
            f"{name}: phone errors {errors(edits, lengths)} of {len(edits)} files, "
            f"tokens as in {next(iter(flags.inputs.split(',')))} {np.mean(same):.0%}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
