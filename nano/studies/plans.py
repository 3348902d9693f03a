"""The studies.  A new one is an entry here."""

from nano.configs.common import SPOKEN, by_source
from nano.measure.information import LABELS, MEASURE, SSL, level
from nano.measure.sets import DEGRADED
from nano.studies.plan import STAGE2, Arm, Study

TASKS = {"se": "tasks:se,mix", "tse": "tasks:tse,mix", "vc": "tasks:vc,mix", "tts": "tts:mix"}
SETS = {"se": ("se_5",), "tse": ("tse",), "vc": ("vc",), "tts": ("tts_unseen",)}
SHARES = {"1%": 0.01, "10%": 0.1, "100%": 1.0}
TOO_FEW = {("tts", "1%")}  # four native recordings, none of them short enough to be read
SNRS = (-5, 0, 5, 10, 15, 20)
CONDITION_ALONE = ((r"params/condition_adapter/.*", True), (r".*", False))
# With these a single task's experiment has the shape of Omni's generator.
OMNI = {
    "model.generator.phone_vocabulary": 1024,
    "model.generator.spread_phones": True,
    "model.generator.condition": "gated",
}


def alone(task: str) -> str:
    """The training of a task by itself, on all of its recordings, from the pre-trained generator."""
    return f"{task}-alone"


def of_share(task: str, share: float) -> dict[str, object]:
    """Changes that leave a share of the recordings; none for all, as other studies train."""
    return {f"data.parts[{part}].select.training_share": share for part in range(_parts(task)) if share < 1}


def _parts(task: str) -> int:
    """How many parts the data of a task have."""
    return len(by_source(frozenset({"mix"}), task=task))


def scratch(config: str) -> str:
    """The experiment without a pre-trained generator."""
    return f"{config},scratch"


STUDIES = {
    "pretraining": Study(
        title="Pre-trained or from nothing",
        paper="Pre-trained, text to speech has a WER of 2.28%, from nothing 4.91% (SeedTTS-en). Other systems need "
        "up to 300 times the data.",
        question="Does pre-training help a task, and does it save the task's data? Each task is trained for equally "
        "many steps from the pre-trained generator and from nothing, on 1%, 10% and 100% of its recordings. "
        "Pre-training came before, on all recordings without a task; its steps are not counted.",
        also=tuple(("from nothing 100%", f"pre-trained {share}") for share in SHARES if share != "100%"),
        arms=tuple(
            Arm(
                name=f"{start} {share}",
                task=task,
                against=f"from nothing {share}" if start == "pre-trained" else "",
                config=config if start == "pre-trained" else scratch(config),
                training=alone(task) if (start, part) == ("pre-trained", 1) else "",
                changes=of_share(task, part),
                sets=SETS[task],
            )
            for task, config in TASKS.items()
            for share, part in SHARES.items()
            if (task, share) not in TOO_FEW
            for start in ("from nothing", "pre-trained")
        ),
    ),
    "zero_shot": Study(
        title="The pre-trained generator without adaptation",
        question="What does the pre-trained generator know of a task that it was not trained for? Its condition "
        "adapter begins at zero, so before the first step it hears the prompt and not the recording. A generator "
        "that was drawn is what chance has.",
        arms=tuple(
            Arm(
                name=name,
                task=task,
                against=against,
                config=scratch(TASKS[task]) if name == "drawn" else TASKS[task],
                learns=name == "adapted",
                training=alone(task) if name == "adapted" else "",
                sets=SETS[task],
            )
            for task in ("se", "vc")
            for name, against in (("drawn", ""), ("pre-trained", "drawn"), ("adapted", "pre-trained"))
        ),
    ),
    "adaptation": Study(
        title="LoRA, adapter alone, full fine-tuning",
        paper="Fewer than 20M parameters that move are enough to be ahead of other systems.",
        question="How many parameters have to move? Every way has the same steps and the same rate.",
        arms=tuple(
            Arm(
                name=name,
                task=task,
                against=against,
                config=TASKS[task] + words,
                training=alone(task) if name == "full" else "",
                changes=changes,
                sets=SETS[task],
            )
            for task in ("se", "vc")
            for name, against, words, changes in (
                ("full", "", "", {}),
                *(
                    (f"LoRA {rank}", "full", ",lora", {"model.lora.rank": rank, "model.lora.alpha": 2.0 * rank})
                    for rank in (4, 16, 32)
                ),
                ("adapter alone", "full", "", {"optimizers.semantic_generator.trainable": CONDITION_ALONE}),
            )
        ),
    ),
    "tokens": Study(
        title="What each kind of token holds",
        question="Clean recordings are decoded from their own tokens: from the acoustic codec's first levels, and from "
        "the SSL tokens alone, through both acoustic generators; of these also where some are replaced by codes that "
        "are drawn. Nothing is trained.",
        arms=(
            Arm(name="4 levels", task="resynthesis", tokens="levels_4"),
            *(
                Arm(name=name, task="resynthesis", against="4 levels", tokens=tokens)
                for name, tokens in (
                    *((f"{count} level{'s' * (count > 1)}", f"levels_{count}") for count in (3, 2, 1)),
                    ("SSL tokens", "ssl"),
                    *((f"SSL tokens, {percent}% replaced", f"ssl_{percent}") for percent in (10, 30)),
                )
            ),
        ),
        seeds=(0,),
        heard=("resynthesis",),
        components=STAGE2,
    ),
    "information": Study(
        title="What a single token tells",
        question="How much does one token say of the phone, the speaker, the pitch and the loudness of its frame, by "
        "codebook? Probabilities are counted in other recordings, so these are lower bounds of the mutual "
        "information, as shares of the label's entropy. Nothing is trained.",
        arms=tuple(
            Arm(name=name, task="information", codebook=codebook, sets=LABELS)
            for name, codebook in (
                ("SSL tokens", SSL),
                *((f"acoustic level {number}", level(number)) for number in (1, 2, 3, 4)),
            )
        ),
        seeds=(0,),
        components=("semantic_codec", "acoustic_codec"),
        shown=MEASURE,
    ),
    "robustness": Study(
        title="Where enhancement breaks",
        question="The chain's model on the same recordings with noise at -5 to 20 dB, and with one other thing done "
        "to each: a room, clipping, a narrow band, a codec, lost packets. Against what it was given, which the tables "
        "call noisy. At 5 dB natives and learners of English stand apart too.",
        arms=(Arm(name="enhanced", task="se", against="noisy", sets=tuple(f"se_{how}" for how in (*SNRS, *DEGRADED))),),
        groups={"se_5": {"natives": "libri", "learners": "so762"}},
        shown="dnsmos_ovrl",
        heard=("se_-5", "se_5", "se_20", "se_room", "se_packets"),
    ),
    "decoding": Study(
        title="Steps and guidance",
        question="What do more steps and stronger guidance of stage 1 give, and what do they cost? Of the chain's "
        "model.",
        heard=("se_5",),
        arms=tuple(
            Arm(
                name=f"{steps} steps, guidance {guidance}",
                task="decoding",
                against="10 steps, guidance 0.0" if (steps, guidance) != (10, 0.0) else "",
                sets=("se_5", "vc"),
                decoding={"steps": steps, "guidance": guidance},
            )
            for steps in (1, 4, 10, 25)
            for guidance in (0.0, 1.0, 2.5)
        ),
    ),
    "conditions": Study(
        title="Text, speech, or both",
        paper="Extraction has a WER of 6.31%, guided by text 2.70% (LibriMix).",
        question="What does text add to extraction? The generator is told the mixture, or the mixture and the phones "
        "of the target speaker, on recordings of the same languages. Beside them what text alone gives, on the batches "
        "of text to speech.",
        arms=(
            Arm(
                name="mixture",
                task="tse",
                config=TASKS["tse"],
                changes={f"data.parts[{part}].select.languages": SPOKEN["languages"] for part in range(_parts("tse"))},
            ),
            Arm(
                name="mixture and text",
                task="tse",
                against="mixture",
                config=f"{TASKS['tse']},text",
                changes={"data.example.text_guided": 1.0},
            ),
            Arm(name="text", task="tts", config=TASKS["tts"], training=alone("tts")),
        ),
    ),
    "positions": Study(
        title="Where phones stand",
        question="Phones of text to speech may stand where they are said, spread over the frames by their durations, "
        "or one after the other as in the paper. Both begin from the pre-trained generator.",
        arms=(
            Arm(
                name="one after the other",
                task="tts",
                config=TASKS["tts"],
                changes={"model.generator.spread_phones": False},
            ),
            Arm(
                name="where they are said",
                task="tts",
                against="one after the other",
                config=TASKS["tts"],
                training=alone("tts"),
            ),
        ),
    ),
    "omni": Study(
        title="Single tasks or Omni",
        paper="One generator can learn all tasks (Omni).",
        question="Does one generator for all tasks do as well as one for each? All have equally many steps, so Omni "
        "takes fewer of each task. Its loss is measured on the batches of the single task's training.",
        arms=(
            Arm(name="Omni", task="all", config="omni:mix", against="single", sets=("se_5", "tse", "vc", "tts_unseen")),
            *(
                Arm(name="single", task=task, config=config, training=alone(task), sets=SETS[task])
                for task, config in TASKS.items()
            ),
            *(
                Arm(
                    name="Omni",
                    task=task,
                    against="single",
                    config=TASKS[task],
                    begins_from="all-omni",
                    learns=False,
                    changes=OMNI,
                )
                for task in ("se", "tse", "vc")
            ),
        ),
    ),
}
