"""Stage-1 pre-training: masked generative modelling of SSL tokens on unlabelled speech (Metis section 3.1).

Command:   python train.py --config=configs/pretrain.py --workdir=DIR --config.data.shards='("TOKEN_SHARDS",)'
Data:      shards with `ssl_tokens` (data/extract_tokens.py); the paper has 300K hours in six languages.
Hardware:  8 x 80 GB in the paper: 10K tokens (200 s) per device and step, 1.2M steps.
Expected:  not published as a number; the fine-tuned models are (TTS SeedTTS-en WER 2.28, without pre-training 4.91).
Words:     tiny, quicktest, samples (configs/common.py).
"""

from configs import common
from metis_jax.config import SemanticCodecConfig, SemanticGeneratorConfig


def get_config(arg: str | None = None):
    given = common.words(arg, common.SAMPLES)
    codec = common.sample_codec(given, "semantic_codec", SemanticCodecConfig)
    return common.experiment(
        given,
        stage="semantic_generator",
        model=dict(generator=common.sized(SemanticGeneratorConfig, given), policy=common.policy(given))
        | codec.get("model", {}),
        initial=codec.get("initial", {}),
        data=dict(stage="pretrain", buckets=common.BUCKETS),
        optimizers=dict(semantic_generator=common.optimizer(given, learning_rate=1e-4, warmup_steps=32_000)),
        steps=1_200_000,
        tokens_per_device=common.TOKENS_PER_DEVICE,
    )
