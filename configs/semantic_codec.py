r"""The semantic codec: one token per 20 ms of SSL features, codebook 8192 (MaskGCT section 3.2.1).

Command:   python train.py --config=configs/semantic_codec.py --workdir=DIR \
               --config.data.shards='("SHARDS",)' --config.initial.ssl_encoder=BUNDLE
Data:      shards of speech (data/prepare.py).
Hardware:  one 80 GB device; the frozen SSL encoder runs inside the step in bfloat16.  Not run at this size here.
Source:    loss weights, betas, warm-up, constant rate, and batches of 32 crops of 8 s per device are those of the
           authors' trainer of the same codec (Amphion, egs/codec/vevo/fvq8192.json).
Expected:  no published number; watch `code_perplexity`, which falls when the codebook collapses.
Words:     tiny, quicktest (configs/common.py).
"""

from configs import common
from metis_jax.config import SemanticCodecConfig, SslEncoderConfig


def get_config(arg: str | None = None):
    given = common.words(arg)
    return common.experiment(
        given,
        stage="semantic_codec",
        model=dict(
            semantic_codec=common.sized(
                SemanticCodecConfig,
                given,
                feature_width=1024,
                width=384,
                mlp_width=2048,
                num_layers=12,
                codebook_size=8192,
                code_width=8,
                reconstruction_weight=32.0,
                codebook_weight=1.0,
                commitment_weight=0.15,
            ),
            # w2v-BERT 2.0, of which layer 17 is read.
            ssl_encoder=common.sized(SslEncoderConfig, given, width=1024, num_layers=24, hidden_layer=17),
            policy=common.policy(given, dtype="float32", remat="none"),
            encoder_policy=common.policy(given, remat="none"),
        ),
        data=dict(stage="semantic_codec", buckets=(400,)),  # frames of 20 ms
        optimizers=dict(
            semantic_codec=common.optimizer(
                given, learning_rate=1e-4, schedule="constant", warmup_steps=10_000, b1=0.5, b2=0.9
            )
        ),
        initial=dict(ssl_encoder=""),
        half_precision=() if common.is_tiny(given) else ("ssl_encoder",),
        steps=400_000,
        tokens_per_device=12_800,  # 256 s
        ema_decay=0.999,
    )
