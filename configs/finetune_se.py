r"""Speech enhancement: fine-tuning of the pre-trained generator (Metis section 3.2).

Command:   python train.py --config=configs/finetune_se.py[:lora] --workdir=DIR \
               --config.data.shards='("SHARDS",)' --config.base=BUNDLE
Condition: no prompt; SSL features of the degraded wave.
Data:      speech, noise and room records (data/prepare.py).
Hardware:  8 x 80 GB for full fine-tuning, one for LoRA.
Expected:  SIG/BAK/OVRL 3.68/4.14/3.44 on DNS with reverb, from the paper's 300K-hour base.
Words:     full (default), lora, tiny, quicktest (configs/common.py).
"""

from configs import common


def get_config(arg: str | None = None):
    return common.finetuning(common.words(arg, "full", "lora"), (dict(task="se"),), tasks=("se",))
