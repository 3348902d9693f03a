"""Nano fine-tuning: one generator for speech enhancement, target speaker extraction and voice conversion.

Command:   python train.py --config=configs/nano/tasks.py --workdir=DIR --config.data.shards='("TOKEN_SHARDS",)' \
               --config.initial.semantic_generator=BUNDLE --config.initial.ssl_encoder=BUNDLE
Hardware:  two CPU cores.
"""

from configs.nano import common as nano
from metis_jax.config import SemanticGeneratorConfig, SslEncoderConfig

STEPS = 10000
# Perturbed voices cost a core most of its time, so voice conversion has the smallest share.
SHARES = {"se": 0.5, "tse": 0.35, "vc": 0.15}


def get_config(arg: str | None = None):
    given = nano.words(arg)
    return nano.experiment(
        given,
        stage="semantic_generator",
        model=dict(
            generator=nano.sized(SemanticGeneratorConfig, given, condition="gated"),
            ssl_encoder=nano.sized(SslEncoderConfig, given),
        ),
        data=dict(
            stage="finetune",
            buckets=(150, 250),
            recipe=dict(prompt_frames=(50, 100)),
            parts=tuple(dict(task=task, weight=share, select=nano.SPEECH) for task, share in SHARES.items()),
        ),
        optimizers=dict(semantic_generator=nano.optimizer(given, STEPS, learning_rate=7e-4)),
        initial=dict(semantic_generator="", ssl_encoder=""),
        tasks=tuple(SHARES),
        steps=STEPS,
        batch_size=8,
    )
