r"""Nano fine-tuning: one generator for text to speech, voice conversion, speaker extraction and enhancement.

Command:   python train.py --config=configs/nano/omni.py --workdir=DIR --config.data.shards='("TOKEN_SHARDS",)' \
               --config.initial.semantic_generator=BUNDLE --config.initial.ssl_encoder=BUNDLE
Data:      as for tasks.py, with `phones` or text.
Hardware:  two CPU cores.
"""

from configs.nano import common as nano
from metis_jax.config import SemanticGeneratorConfig, SslEncoderConfig

STEPS = 15000
# As in the full experiment text has the most to learn; perturbed voices cost the most.
SHARES = {"tts": 0.4, "se": 0.25, "tse": 0.25, "vc": 0.1}


def get_config(arg: str | None = None):
    given = nano.words(arg)
    return nano.experiment(
        given,
        stage="semantic_generator",
        model=dict(
            generator=nano.sized(SemanticGeneratorConfig, given, condition="gated", phone_vocabulary=1024),
            ssl_encoder=nano.sized(SslEncoderConfig, given),
        ),
        data=dict(
            stage="finetune",
            buckets=(150, 250),
            recipe=dict(prompt_frames=(50, 100)),
            example=dict(max_phones=128),
            parts=tuple(dict(task=task, weight=share, select=nano.SPEECH) for task, share in SHARES.items()),
        ),
        optimizers=dict(semantic_generator=nano.optimizer(given, STEPS, learning_rate=7e-4)),
        initial=dict(semantic_generator="", ssl_encoder=""),
        tasks=tuple(SHARES),
        steps=STEPS,
        batch_size=8,
    )
