r"""Zero-shot text-to-speech: fine-tuning of the pre-trained generator (Metis section 3.2).

Command:   python train.py --config=configs/finetune_tts.py[:lora] --workdir=DIR \
               --config.data.shards='("SHARDS",)' --config.base=BUNDLE
Condition: phones in front, no adapter.
Data:      token shards with text, or with `phones`.
Hardware:  8 x 80 GB for full fine-tuning, one for LoRA.
Expected:  SeedTTS-en WER 2.28, zh 2.30, SIM 0.72 (ground-truth length), from the paper's 300K-hour base.
Words:     full (default), lora, tiny, quicktest (configs/common.py).
"""

from configs import common


def get_config(arg: str | None = None):
    given = common.words(arg, "full", "lora")
    return common.finetuning(given, (dict(task="tts"),), condition="none", phones=True, tasks=("tts",))
