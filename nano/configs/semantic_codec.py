"""Nano semantic codec: 1024 codes that keep the phones of clean and of degraded speech.

Command:   python train.py --config=nano/configs/semantic_codec.py:continuous --workdir=DIR1 \
               --config.data.shards='("SHARDS",)' --config.initial.ssl_encoder=BUNDLE
           then, from its networks on, with codes:
           python train.py --config=nano/configs/semantic_codec.py --workdir=DIR2 --config.data.shards='("SHARDS",)' \
               --config.initial.ssl_encoder=BUNDLE --config.initial.semantic_codec=BUNDLE1 \
               --config.initial.phone_head=BUNDLE1
Data:      speech with a text or phones, in utterances of up to 8 s; where bounds of the phones are known, they are
           learned frame by frame.
Hardware:  two CPU cores.
"""

from metis_jax.config import PhoneHeadConfig, SemanticCodecConfig, WhisperEncoderConfig
from nano.configs import common as nano

CONTINUOUS_STEPS, STEPS = 1000, 2500


def get_config(arg: str | None = None):
    given = nano.words(arg, "continuous")
    is_first = "continuous" in given
    frames = 1000 if nano.common.is_tiny(given) else 60_000
    steps = CONTINUOUS_STEPS if is_first else STEPS
    return nano.experiment(
        given,
        stage="phonetic_codec",
        model=dict(
            semantic_codec=nano.sized(SemanticCodecConfig, given),
            ssl_encoder=nano.sized(WhisperEncoderConfig, given),
            phone_head=nano.sized(PhoneHeadConfig, given),
            is_quantized=not is_first,
            kmeans_frames=0 if is_first else frames,
        ),
        data=dict(
            stage="finetune",
            buckets=(150, 250, 400),
            example=dict(target="wave", text_guided=1.0, max_phones=160, degrade=nano.HALF_DEGRADED),
            parts=nano.by_source(given, nano.SPOKEN, task="se"),
        ),
        optimizers=dict(
            semantic_codec=nano.optimizer(given, steps, schedule="constant" if is_first else "cosine"),
            phone_head=nano.optimizer(given, steps, schedule="constant" if is_first else "cosine"),
        ),
        initial=dict(ssl_encoder="") | ({} if is_first else dict(semantic_codec="", phone_head="")),
        steps=steps,
        tokens_per_device=1600,
    )
