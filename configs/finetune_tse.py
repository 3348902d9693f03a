r"""Target speaker extraction: fine-tuning of the pre-trained generator (Metis section 3.2).

Command:   python train.py --config=configs/finetune_tse.py[:lora,text] --workdir=DIR \
               --config.data.shards='("SHARDS",)' --config.base=BUNDLE
Condition: SSL features of the prompt (another utterance of the target) and the mixture.
           With `text` half of the examples carry the phones of the target too (text-guided extraction).
Data:      speech of several utterances per speaker, noise and rooms; with `text`, all of it with text or `phones`.
           Mixtures are made on the way, after LibriMix: another speaker over the target, each at -33 to -25 dB; half of
           them degraded as for enhancement, each voice at its own place in the room (`data.example`).
Hardware:  8 x 80 GB for full fine-tuning, one for LoRA.  Not run at this size here.
Source:    rates, steps and warm-up are chosen here; ranks of 4, 16 and 32 with alpha = 2 x rank are the paper's.
Expected:  WER 6.31 on LibriMix (text-guided 2.70), from the paper's 300K-hour base.
Words:     text, full (default), lora, tiny, quicktest (configs/common.py).
"""

from configs import common
from configs.pretrain import GENERATOR


def get_config(arg: str | None = None):
    given = common.words(arg, "text", "full", "lora")
    phones = 1024 if "text" in given else 0
    return common.finetuning(
        given,
        parts=(dict(task="tse"),),
        generator=GENERATOR | dict(condition="gated", condition_width=1024, phone_vocabulary=phones),
        lora=dict(rank=32, alpha=64.0, dropout=0.01),
        minimum_rate=0.2,
        prompt_probability=0.85,
        prompt_frames=(100, 500),
        example=dict(text_guided=0.5 if phones else 0.0),
        buckets=(250, 500, 750, 1000, 1250, 1500),  # frames of 20 ms
        learning_rate=1e-4 if "lora" in given else 1e-5,
        warmup_steps=2000,
        steps=100_000,
        tokens_per_device=10_000,  # 200 s
    )
