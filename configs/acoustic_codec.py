"""The acoustic codec: 24 kHz speech to twelve residual levels at 50 Hz and back (MaskGCT section 3.2.3).

Command:   python train.py --config=configs/acoustic_codec.py --workdir=DIR --config.data.shards='("SHARDS",)'
Data:      shards of speech of 24 kHz or more (data/prepare.py).
Hardware:  8 x 80 GB; losses and optimizer are DAC's (arXiv 2306.06546 section 4.2), crops of one second.
Expected:  no published number for this codec alone.
Words:     tiny, quicktest (configs/common.py).
"""

from configs import common
from metis_jax.config import AcousticCodecConfig, DiscriminatorConfig


def get_config(arg: str | None = None):
    given = common.words(arg)
    gan = dict(
        learning_rate=1e-4, schedule="cosine", warmup_steps=1000, total_steps=400_000, b1=0.8, b2=0.99, clip_norm=10.0
    )
    return common.experiment(
        given,
        stage="acoustic_codec",
        model=dict(
            acoustic_codec=common.sized(AcousticCodecConfig, given),
            discriminators=common.sized(DiscriminatorConfig, given),
            policy=common.policy(given, dtype="float32"),
        ),
        data=dict(
            stage="acoustic_codec",
            buckets=(50,),
            recipe=dict(min_frames=25),
            example=dict(gain_db=(-12.0, 3.0)),
        ),
        optimizers=dict(acoustic_codec=common.optimizer(given, **gan), discriminators=common.optimizer(given, **gan)),
        tiny_buckets=(25,),
        quick_buckets=(25,),
        steps=400_000,
        tokens_per_device=450,
        ema_decay=0.999,
    )
