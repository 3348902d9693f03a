"""Stage 2, levels 2 to 12: acoustic tokens from SSL tokens and the levels below (MaskGCT section 3.2.3).

Command:   python train.py --config=configs/s2a_full.py --workdir=DIR --config.data.shards='("TOKEN_SHARDS",)'
Data:      shards with `ssl_tokens` and `acoustic_tokens` (data/extract_tokens.py).
Hardware:  8 x 80 GB, as stage 1.  Not run at this size here.
Expected:  no published number.
Words:     tiny, quicktest, samples (configs/common.py).
"""

import ml_collections

from configs import common
from metis_jax.config import AcousticCodecConfig, AcousticGeneratorConfig


def get_config(arg: str | None = None):
    # Every row is trained on one of its levels, drawn with a weight of 12 less its number: the lower ones more often.
    return stage2(common.words(arg, common.SAMPLES), first_level=1, num_levels=12)


def stage2(given: frozenset[str], *, first_level: int, num_levels: int) -> ml_collections.ConfigDict:
    """The generator of the levels from `first_level` on, counted from 0, to below `num_levels`."""
    codec = common.sample_codec(given, "acoustic_codec", AcousticCodecConfig)
    return common.experiment(
        given,
        stage="acoustic_generator",
        model=dict(
            generator=common.sized(
                AcousticGeneratorConfig,
                given,
                width=1024,
                num_layers=16,
                num_heads=16,
                mlp_width=4096,
                num_levels=num_levels,
                codebook_size=1024,
                semantic_codebook_size=8192,
            ),
            first_level=first_level,
            # Of a row's frames a share of sin(pi t / 2) is masked, t being random; at least this one.
            minimum_rate=0.0,
            # The share of rows that have a prompt, and the share of a row's frames that it stays below.
            prompt_probability=0.85,
            prompt_share=0.5,
            policy=common.policy(given),
            **codec.get("model", {}),
        ),
        initial=codec.get("initial", {}),
        data=dict(stage="stage2", buckets=(250, 500, 750, 1000, 1250, 1500)),  # frames of 20 ms
        optimizers=dict(
            acoustic_generator=common.optimizer(
                given, learning_rate=1e-4, schedule="inverse_sqrt", warmup_steps=32_000, b1=0.9, b2=0.999
            )
        ),
        steps=1_200_000,
        tokens_per_device=10_000,  # 200 s
    )
