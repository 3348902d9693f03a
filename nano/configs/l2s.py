r"""Nano fine-tuning for lip-to-speech, from a handful of clips: it learns them by heart.

Command:   python data/extract_tokens.py --bundle=nano --input=SHARDS --output=TOKENS --arrays=ssl_tokens
           python train.py --config=nano/configs/l2s.py --workdir=DIR --config.data.shards='("TOKENS",)' \
               --config.initial.visual_encoder=SIGHT --config.base=nano
           SIGHT is the export of a run of nano/configs/lips.py, SHARDS are its records.
Hardware:  two CPU cores.
"""

from metis_jax.config import SemanticGeneratorConfig, VisualEncoderConfig
from metis_jax.sections import to_dict
from nano.configs import common as nano
from nano.configs.lips import SIGHT

STEPS = 600


def get_config(arg: str | None = None):
    given = nano.words(arg)
    sight = nano.common.sized(VisualEncoderConfig, given, **to_dict(SIGHT))
    return nano.experiment(
        given,
        stage="semantic_generator",
        model=dict(
            generator=nano.sized(SemanticGeneratorConfig, given, condition="plain", condition_width=sight["width"]),
            visual_encoder=sight,
        ),
        data=dict(
            stage="finetune",
            buckets=(150,),
            parts=(dict(task="l2s", select=nano.SPEECH | {"kinds": ("speech", "video")}),),
            example=dict(target="tokens", lips="crops"),
        ),
        optimizers=dict(semantic_generator=nano.optimizer(given, STEPS)),
        initial=dict(visual_encoder="", semantic_generator=""),
        tasks=("l2s",),
        steps=STEPS,
        tokens_per_device=1200,
    )
