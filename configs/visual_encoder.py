r"""The visual encoder: lip features from videos of people who speak (metis_jax/training/trainers/visual_encoder.py).

Command:   python train.py --config=configs/visual_encoder.py --workdir=DIR \
               --config.data.shards='("SHARDS",)' --config.initial.ssl_encoder=BUNDLE
Data:      shards with `mouth_crops` and text (data/prepare.py --mouths); `--config.model.phone_weight=0` without text.
Hardware:  8 x 80 GB.  Not run at this size here.
Source:    ours; sizes and augmentation are those of the published lip readers (arXiv 2303.14307).
Expected:  no published number; watch `features`, which is 0.8 for lips that tell nothing.
Words:     tiny, quicktest (configs/common.py).
"""

from configs import common
from metis_jax.config import LipHeadConfig, SslEncoderConfig, VisualEncoderConfig

STEPS = 100_000


def get_config(arg: str | None = None):
    given = common.words(arg)
    return common.experiment(
        given,
        stage="visual_encoder",
        model=dict(
            visual_encoder=common.sized(VisualEncoderConfig, given),
            # w2v-BERT 2.0, of which layer 17 is read.
            ssl_encoder=common.sized(SslEncoderConfig, given, width=1024, num_layers=24, hidden_layer=17),
            lip_head=common.sized(LipHeadConfig, given),
            policy=common.policy(given),
            encoder_policy=common.policy(given, remat="none"),
        ),
        data=dict(
            stage="finetune",
            buckets=(150, 250, 400),  # frames of 20 ms
            parts=(dict(task="l2s", select=dict(kinds=("speech", "video"))),),
            example=dict(target="wave", lips="crops", text_guided=1.0),
        ),
        optimizers={
            name: common.optimizer(
                given, learning_rate=1e-3, schedule="cosine", warmup_steps=5000, total_steps=STEPS, b2=0.98
            )
            for name in ("visual_encoder", "lip_head")
        },
        initial=dict(ssl_encoder=""),
        half_precision=() if common.is_tiny(given) else ("ssl_encoder",),
        steps=STEPS,
        tokens_per_device=4000,  # 80 s
    )
