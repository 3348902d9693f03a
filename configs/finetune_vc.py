r"""Zero-shot voice conversion: fine-tuning of the pre-trained generator (Metis section 3.2).

Command:   python train.py --config=configs/finetune_vc.py[:lora] --workdir=DIR \
               --config.data.shards='("SHARDS",)' --config.base=BUNDLE
Condition: SSL features of the prompt and the source in another voice.
Data:      speech of several utterances per speaker; `source_audio` of a manifest line, where it has one, is the same
           words in another voice and takes the place of the perturbation (docs/training.md).
Hardware:  8 x 80 GB for full fine-tuning, one for LoRA.
Expected:  VCTK WER 4.49, SIM 0.55, from the paper's 300K-hour base.
Words:     full (default), lora, tiny, quicktest (configs/common.py).
"""

from configs import common


def get_config(arg: str | None = None):
    return common.finetuning(common.words(arg, "full", "lora"), (dict(task="vc"),), tasks=("vc",))
