r"""One model for tts, vc, tse and se: fine-tuning of the pre-trained generator (Metis section 3.2).

Command:   python train.py --config=configs/finetune_omni.py[:lora] --workdir=DIR \
               --config.data.shards='("SHARDS",)' --config.base=BUNDLE
Condition: that of each task; a weighted mixture of the four tasks.
Data:      all that the four tasks need.
Hardware:  8 x 80 GB for full fine-tuning, one for LoRA.
Expected:  see the single-task files, from the paper's 300K-hour base.
Words:     full (default), lora, tiny, quicktest (configs/common.py).
"""

from configs import common


def get_config(arg: str | None = None):
    parts = (
        dict(task="tts", weight=0.4),
        dict(task="vc", weight=0.2),
        dict(task="tse", weight=0.2),
        dict(task="se", weight=0.2),
    )
    given = common.words(arg, "full", "lora")
    return common.finetuning(given, parts, phones=True, tasks=("tts", "vc", "tse", "se"))
