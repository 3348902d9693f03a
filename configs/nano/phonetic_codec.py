"""Nano codes that keep phones: a semantic codec over the first layers of Whisper's encoder.

Command:   python nano/ssl_encoder.py --whisper=FOLDER --shards=SHARDS --output=ENCODER
           python train.py --config=configs/nano/phonetic_codec.py:continuous --workdir=DIR1 \\
               --config.data.shards='("SHARDS",)' --config.initial.ssl_encoder=ENCODER      (and --export=BUNDLE1)
           python train.py --config=configs/nano/phonetic_codec.py --workdir=DIR2 --config.data.shards='("SHARDS",)' \\
               --config.initial.ssl_encoder=ENCODER --config.initial.semantic_codec=BUNDLE1 \\
               --config.initial.phone_head=BUNDLE1
Data:      speech with a text or phones, in utterances of up to 8 s; where bounds of the phones are known (speech of
           nano/make_speech.py), they are learned frame by frame.
Hardware:  two CPU cores.
Expected:  measured after the first part, with phone losses of other weights: 25% phone errors on 32 held-out clean
           recordings, 31% at 5 dB (benchmarks/nano_phones.py --continuous).
"""

from configs.nano import common as nano
from metis_jax.config import (
    SIZES,
    PhoneHeadConfig,
    SemanticCodecConfig,
    WhisperEncoderConfig,
)
from metis_jax.sections import to_dict

CONTINUOUS_STEPS, STEPS = 1000, 2500
ENCODER = WhisperEncoderConfig(num_layers=3)  # of Whisper tiny.en
CODEC = SemanticCodecConfig(
    feature_width=ENCODER.width,
    codebook_size=1024,
    code_width=16,
    width=256,
    mlp_width=768,
    num_layers=2,
    reconstruction_weight=1.0,
    commitment_weight=0.25,
)
# What hears clean speech as often.
DEGRADATIONS = nano.DEGRADATIONS | {"noise": {"probability": 0.55, "snr_db": (-3.0, 18.0)}}


def get_config(arg: str | None = None):
    given = nano.words(arg, "continuous")
    is_first, is_tiny = "continuous" in given, nano.common.is_tiny(given)
    encoder = SIZES["tiny"][WhisperEncoderConfig] if is_tiny else ENCODER
    width = {"feature_width": encoder.width}
    codec = to_dict(SIZES["tiny"][SemanticCodecConfig] if is_tiny else CODEC) | width
    head = to_dict(SIZES["tiny"][PhoneHeadConfig] if is_tiny else PhoneHeadConfig()) | width
    steps = CONTINUOUS_STEPS if is_first else STEPS
    optimizer = nano.optimizer(given, steps, schedule="constant" if is_first else "cosine")
    goes_on = {} if is_first else dict(semantic_codec="", phone_head="")
    return nano.experiment(
        given,
        stage="phonetic_codec",
        model=dict(
            semantic_codec=codec,
            ssl_encoder=to_dict(encoder),
            phone_head=head | {"phone_vocabulary": 1024},
            is_quantized=not is_first,
            kmeans_frames=0 if is_first else 1000 if is_tiny else 60_000,
        ),
        data=dict(
            stage="finetune",
            buckets=(150, 250, 400),
            example=dict(target="wave", text_guided=1.0, max_phones=160, degrade=DEGRADATIONS),
            parts=(dict(task="se", select=nano.SPOKEN),),
        ),
        optimizers=dict(semantic_codec=optimizer, phone_head=optimizer),
        initial=dict(ssl_encoder="") | goes_on,
        steps=steps,
        tokens_per_device=1600,
    )
