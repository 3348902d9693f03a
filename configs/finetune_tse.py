r"""Target speaker extraction: fine-tuning of the pre-trained generator (Metis section 3.2).

Command:   python train.py --config=configs/finetune_tse.py[:lora,text] --workdir=DIR \
               --config.data.shards='("SHARDS",)' --config.base=BUNDLE
Condition: SSL features of the prompt (another utterance of the target) and the mixture.
           With `text` half of the examples carry the phones of the target too (text-guided extraction).
Data:      speech of several utterances per speaker, noise and rooms; with `text`, all of it with text or `phones`.
           Mixtures are made on the way, after LibriMix: another speaker over the target, each at -33 to -25 dB; half of
           them degraded as for enhancement, each voice at its own place in the room (`data.example`).
Hardware:  8 x 80 GB for full fine-tuning, one for LoRA.
Expected:  WER 6.31 on LibriMix (text-guided 2.70), from the paper's 300K-hour base.
Words:     text, full (default), lora, tiny, quicktest (configs/common.py).
"""

from configs import common


def get_config(arg: str | None = None):
    given = common.words(arg, "text", "full", "lora")
    guided = "text" in given
    return common.finetuning(
        given, (dict(task="tse"),), phones=guided, tasks=("tse",), text_guided=0.5 if guided else 0.0
    )
