"""Stage 2, levels 2 to 12: acoustic tokens from SSL tokens and the levels below (MaskGCT section 3.2.3).

Command:   python train.py --config=configs/s2a_full.py --workdir=DIR --config.data.shards='("TOKEN_SHARDS",)'
Data:      shards with `ssl_tokens` and `acoustic_tokens` (data/extract_tokens.py).
Hardware:  8 x 80 GB, as stage 1.
Expected:  not published as a number.
Words:     tiny, quicktest, samples (configs/common.py).
"""

from configs import common
from metis_jax.config import AcousticCodecConfig, AcousticGeneratorConfig


def get_config(arg: str | None = None):
    given = common.words(arg, common.SAMPLES)
    codec = common.sample_codec(given, "acoustic_codec", AcousticCodecConfig)
    return common.experiment(
        given,
        stage="acoustic_generator",
        model=dict(generator=common.sized(AcousticGeneratorConfig, given), first_level=1, policy=common.policy(given))
        | codec.get("model", {}),
        initial=codec.get("initial", {}),
        data=dict(stage="stage2", buckets=(250, 500, 750, 1000, 1250)),
        optimizers=dict(acoustic_generator=common.optimizer(given, learning_rate=1e-4, warmup_steps=32_000)),
        steps=1_200_000,
        batch_size=64,
    )
