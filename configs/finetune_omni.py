r"""One model for tts, vc, tse and se: fine-tuning of the pre-trained generator (Metis section 3.2).

Command:   python train.py --config=configs/finetune_omni.py[:lora] --workdir=DIR \
               --config.data.shards='("SHARDS",)' --config.base=BUNDLE
Condition: that of each task; a weighted mixture of the four tasks.
Data:      all that the four tasks need.
Hardware:  8 x 80 GB for full fine-tuning, one for LoRA.  Not run at this size here.
Source:    rates, steps and warm-up are chosen here; ranks of 4, 16 and 32 with alpha = 2 x rank are the paper's.
Expected:  see the single-task files, from the paper's 300K-hour base.
Words:     full (default), lora, tiny, quicktest (configs/common.py).
"""

from configs import common
from configs.pretrain import GENERATOR


def get_config(arg: str | None = None):
    given = common.words(arg, "full", "lora")
    return common.finetuning(
        given,
        parts=(
            dict(task="tts", weight=0.4),
            dict(task="vc", weight=0.2),
            dict(task="tse", weight=0.2),
            dict(task="se", weight=0.2),
        ),
        generator=GENERATOR | dict(condition="gated", condition_width=1024, phone_vocabulary=1024),
        lora=dict(rank=32, alpha=64.0, dropout=0.01),
        minimum_rate=0.2,
        prompt_probability=0.85,
        prompt_share=0.4,
        prompt_frames=(100, 500),
        buckets=(250, 500, 750, 1000, 1250, 1500),  # frames of 20 ms
        learning_rate=1e-4 if "lora" in given else 1e-5,
        warmup_steps=2000,
        steps=100_000,
        tokens_per_device=10_000,  # 200 s
    )
