r"""Lip-to-speech: fine-tuning of the pre-trained generator (Metis section 3.2).

Command:   python train.py --config=configs/finetune_l2s.py[:lora] --workdir=DIR \
               --config.data.shards='("SHARDS",)' --config.base=BUNDLE
Condition: lip features at 25 fps.
Data:      token shards with `visual_features` [t, 768].
Hardware:  8 x 80 GB for full fine-tuning, one for LoRA.
Expected:  LRS2 WER 32.28, SIM 59.73, from the paper's 300K-hour base.
Words:     full (default), lora, tiny, quicktest (configs/common.py).
"""

from configs import common


def get_config(arg: str | None = None):
    given = common.words(arg, "full", "lora")
    # A synthetic record carries lip features as narrow as the tiny model.
    width = 64 if common.is_tiny(given) else 768
    return common.finetuning(given, (dict(task="l2s"),), condition="plain", condition_width=width, tasks=("l2s",))
