r"""Lip-to-speech: fine-tuning of the pre-trained generator (Metis section 3.2).

Command:   python train.py --config=configs/finetune_l2s.py[:lora|:crops|:end_to_end] --workdir=DIR \
               --config.data.shards='("SHARDS",)' --config.base=BUNDLE
Condition: lip features at 25 fps.
Data:      token shards with `visual_features` [t, 768]; for `crops` and `end_to_end`, of videos (data/prepare.py
           --mouths), whose lip features are made in the step, with --config.initial.visual_encoder=BUNDLE; the latter
           trains that one too.
Hardware:  8 x 80 GB for full fine-tuning, one for LoRA.  Not run at this size here.
Source:    rates, steps and warm-up are chosen here; ranks of 4, 16 and 32 with alpha = 2 x rank are the paper's.
Expected:  LRS2 WER 32.28, SIM 59.73, from the paper's 300K-hour base.
Words:     full (default), lora, crops, end_to_end, tiny, quicktest (configs/common.py).
"""

from configs import common
from configs.pretrain import GENERATOR


def get_config(arg: str | None = None):
    given = common.words(arg, "full", "lora", "crops", "end_to_end")
    # A synthetic record carries lip features as narrow as the tiny model.
    width = 64 if common.is_tiny(given) else 768
    return common.finetuning(
        given,
        parts=(dict(task="l2s", select=dict(kinds=("speech", "video"))),),
        sees=bool(given & {"crops", "end_to_end"}),
        learns_to_see="end_to_end" in given,
        generator=GENERATOR | dict(condition="plain", condition_width=width),
        lora=dict(rank=32, alpha=64.0, dropout=0.01),
        minimum_rate=0.2,
        prompt_probability=0.85,
        prompt_share=0.4,
        buckets=(250, 500, 750, 1000, 1250, 1500),  # frames of 20 ms
        learning_rate=1e-4 if "lora" in given else 1e-5,
        warmup_steps=2000,
        steps=100_000,
        tokens_per_device=10_000,  # 200 s
    )
