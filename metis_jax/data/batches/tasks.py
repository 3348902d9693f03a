"""Batches of fine-tuning: what a task is told, and the speech that is to come of it."""

from collections.abc import Sequence

import numpy as np

from metis_jax.audio.waves import AudioError, fit, read_wave, resample
from metis_jax.clock import SSL_HOP, SSL_RATE, ssl_frames, ssl_samples
from metis_jax.data.batches.examples import Batch, Example, Material, UnusableRecord
from metis_jax.data.batches.kinds import Kind, Sizes, heard_frames, lengths_of, padded, padded_wave
from metis_jax.data.batches.plans import Row
from metis_jax.data.batches.recipes import GUIDED, HEARD, PROMPTED
from metis_jax.data.corpus.corpus import Corpus
from metis_jax.data.corpus.records import Record
from metis_jax.data.effects.mixtures import mixed_voices
from metis_jax.data.effects.perturb import perturb
from metis_jax.tasks import TASKS

_INDEX = {task: index for index, task in enumerate(TASKS)}


class Tasks(Kind):
    """Prompt and target of a row together are its `lengths`.

    prompt_lengths               [b] frames of the prompt in front whose tokens are known: 0 for se; -1 for tts and l2s:
                                 the train step draws one inside the recording
    target_starts                [b] the target's first frame
    task                         [b] an index into `TASKS`
    and the target, as `target` in the config says:
      "tokens"                   tokens [b, t]: SSL tokens of prompt and clean target, from the shards
      "wave"                     target [b, l] 16 kHz, for the step to make tokens of; target_lengths (samples);
                                 if tse or vc is a part, too: prompt_wave [b, m] 16 kHz, m = 320 x the longest prompt;
                                 prompt_wave_lengths (samples; 0 where there is none)
    if se, tse or vc is a part   source [b, l] 16 kHz: clean prompt, then the degraded, mixed or perturbed target;
                                 source_lengths (samples; 0 in rows of a task without a source); has_source [b] bool
    if tts is a part, or
    text_guided > 0              phones [b, max_phones]; phone_lengths (0: none); phone_bounds [b, max_phones + 1]
                                 float32: frames at which phones begin, and at which the last one ends; all 0 where the
                                 recording does not say
    if l2s is a part             for the target frames, at 25 fps: visual [b, ceil(t / 2), 768], or with
                                 `lips="crops"` mouths [b, ceil(t / 2), 88, 88] uint8; visual_lengths

    SSL frames of a `source` row are exactly its `lengths`: `ssl_frames(source_lengths) == lengths`; those of a `target`
    row are the ones from `target_starts` on.  A `prompt_wave` alone has a frame less than it fills in front of a
    target, as at inference: `prompt_lengths` is `target_starts` - 1 there, and the token in between belongs to neither.
    """

    def frames(self, corpus: Corpus, target: str, task: str) -> np.ndarray:
        column = corpus.columns
        if target == "tokens" and task not in HEARD:
            return column["length_ssl_tokens"].astype(np.int64)
        frames = heard_frames(corpus)
        if target == "tokens":
            frames = np.minimum(frames, column["length_ssl_tokens"])
        return frames * column["has_audio"]

    def example(self, material: Material, row: Row) -> Example:
        recipe, rng, config = row.recipe, material.rng(row), material.config
        target, prompt, task = recipe.target, recipe.prompt, recipe.task
        record = material.waves.record(target.record)
        example: Example = {"task": np.asarray(_INDEX[task], np.int32)}
        prompt_record = material.waves.record(prompt.record) if prompt else None
        prompt_wave = material.prompt_wave(prompt_record, prompt) if prompt else np.zeros(0, np.float32)
        clean = None
        if task in HEARD or config.target == "wave":
            clean = material.piece(record, target)
        if task in HEARD:
            example["source"] = np.concatenate([prompt_wave, _source(material, row, rng, clean, record)])
        # -1: the target recording holds no separate prompt, and the train step draws one as in pre-training.
        known = prompt.frames if prompt else (-1 if task in ("tts", "l2s") else 0)
        if config.target == "wave":
            example["target"] = clean
            if prompt:
                example["prompt_wave"] = prompt_wave
                known = ssl_frames(len(prompt_wave))
        else:
            pieces = [(record, target)] if not prompt else [(prompt_record, prompt), (record, target)]
            example["tokens"] = np.concatenate(
                [
                    material.waves.array(one, piece.record, "ssl_tokens")[piece.start : piece.start + piece.frames]
                    for one, piece in pieces
                ]
            ).astype(np.int32)
        example["prompt_lengths"] = np.asarray(known, np.int32)
        example["target_starts"] = np.asarray(prompt.frames if prompt else 0, np.int32)
        if task == "tts" or (task in GUIDED and rng.random() < config.text_guided):
            spoken = material.spoken(record, target, prompt.frames if prompt else 0)
            if recipe.is_whole_prompt and ("phones" in prompt_record.arrays or prompt_record.text):
                both = material.spoken(prompt_record, prompt, 0) + spoken
                spoken = both if len(both.phones) <= config.max_phones else spoken
            example |= {"phones": spoken.phones, "phone_bounds": spoken.bounds}
        if task == "l2s":
            example["visual"] = material.lips(record, target, rng)
        return example

    def arrays(self, examples: Sequence[Example], sizes: Sizes) -> Batch:
        config, tasks, frames = sizes.example, sizes.tasks, sizes.frames
        names = ("task", "prompt_lengths", "target_starts")
        batch = {name: np.asarray([example[name] for example in examples], np.int32) for name in names}
        if config.target == "wave":
            batch |= padded_wave(examples, "target", ssl_samples(frames))
            if tasks & set(PROMPTED):
                batch |= padded_wave(examples, "prompt_wave", SSL_HOP * sizes.prompt_frames)
        else:
            batch["tokens"] = padded(examples, "tokens", frames, np.int32)
        if tasks & set(HEARD):
            batch |= padded_wave(examples, "source", ssl_samples(frames))
            batch["has_source"] = np.asarray(["source" in example for example in examples], bool)
        if "tts" in tasks or config.text_guided > 0:
            batch["phones"] = padded(examples, "phones", config.max_phones, np.int32)
            batch["phone_lengths"] = lengths_of(examples, "phones")
            batch["phone_bounds"] = padded(examples, "phone_bounds", config.max_phones + 1, np.float32)
        if "l2s" in tasks:
            pictures = -(-frames // 2)
            batch["visual_lengths"] = lengths_of(examples, "visual")
            if config.lips == "crops":
                square = (config.crop_size, config.crop_size)
                batch["mouths"] = padded(examples, "visual", pictures, np.uint8, square)
                return batch
            widths = {example["visual"].shape[1] for example in examples if "visual" in example} or {768}
            if len(widths) != 1:
                raise ValueError(f"visual_features of widths {sorted(widths)} in one batch; extract them again")
            batch["visual"] = padded(examples, "visual", pictures, np.float32, (widths.pop(),))
        return batch


def _source(material: Material, row: Row, rng: np.random.Generator, clean: np.ndarray, record: Record) -> np.ndarray:
    """The condition's wave for the target part."""
    task, target, config = row.recipe.task, row.recipe.target, material.config
    if task == "se":
        return material.degraded(rng, clean, SSL_RATE)
    if task == "tse":
        others = [material.interferer(row, rng) for _ in range(config.mixture.count(rng))]
        voices = mixed_voices(rng, clean, others, config.mixture)
        if rng.random() < config.degrade_mixture:
            return material.degraded(rng, voices, SSL_RATE)
        mixture = np.sum(voices, axis=0)
        # Peaks at full scale add up to more: scale rather than clip.
        return mixture / np.float32(max(1.0, float(np.max(np.abs(mixture), initial=0.0))))
    if record.source_audio:
        try:
            wave, rate = read_wave(record.source_audio, record.id)
        except AudioError as error:
            raise UnusableRecord(target.record, f"source_audio: {error}") from error
        return fit(resample(wave, rate, SSL_RATE)[target.start * SSL_HOP :], len(clean))
    return perturb(rng, clean, SSL_RATE, config.perturb)
