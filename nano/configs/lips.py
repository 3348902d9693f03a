r"""Nano visual encoder: lip features from a handful of clips (metis_jax/training/trainers/visual_encoder.py).

Command:   python data/prepare.py --mouths --input=CLIPS --output=SHARDS
           python train.py --config=nano/configs/lips.py --workdir=DIR --config.data.shards='("SHARDS",)' \
               --config.initial.ssl_encoder=BUNDLE
Hardware:  two CPU cores.
"""

from metis_jax.config import LipHeadConfig, VisualEncoderConfig, WhisperEncoderConfig
from metis_jax.sections import to_dict
from nano.configs import common as nano

STEPS = 600
SIGHT = VisualEncoderConfig(stem_channels=12, width=128, num_layers=2, num_heads=4, mlp_width=256, conv_width=15)


def get_config(arg: str | None = None):
    given = nano.words(arg)
    encoder = nano.sized(WhisperEncoderConfig, given)
    sight = nano.common.sized(VisualEncoderConfig, given, **to_dict(SIGHT))
    head = LipHeadConfig(
        feature_width=sight["width"], ssl_width=encoder["width"], width=128, mlp_width=384, num_layers=2
    )
    optimizer = nano.optimizer(given, STEPS)
    return nano.experiment(
        given,
        stage="visual_encoder",
        model=dict(visual_encoder=sight, ssl_encoder=encoder, lip_head=to_dict(head)),
        data=dict(
            stage="finetune",
            buckets=(150,),
            parts=(dict(task="l2s", select=nano.SPEECH | {"kinds": ("speech", "video")}),),
            example=dict(target="wave", lips="crops", text_guided=1.0, max_phones=64),
        ),
        optimizers=dict(visual_encoder=optimizer, lip_head=optimizer),
        initial=dict(ssl_encoder=""),
        steps=STEPS,
        tokens_per_device=600,
    )
