r"""Target speaker extraction: fine-tuning of the pre-trained generator (Metis section 3.2).

Command:   python train.py --config=configs/finetune_tse.py[:lora] --workdir=DIR \
               --config.data.shards='("SHARDS",)' --config.initial.semantic_generator=BASE \
               --config.initial.ssl_encoder=BUNDLE --config.initial.semantic_codec=BUNDLE
Condition: SSL features of the prompt (another utterance of the target) and the mixture.
Data:      speech of several utterances per speaker, noise and rooms.
Hardware:  8 x 80 GB for full fine-tuning, one for LoRA.
Expected:  WER 6.31 on LibriMix (text-guided 2.70), from the paper's 300K-hour base.
Words:     full (default), lora, tiny, quicktest (configs/common.py).
"""

from configs import common


def get_config(arg: str | None = None):
    return common.finetuning(common.words(arg, "full", "lora"), (dict(task="tse"),), tasks=("tse",))
