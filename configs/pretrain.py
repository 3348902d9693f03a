"""Stage-1 pre-training: masked generative modelling of SSL tokens on unlabelled speech (Metis section 3.1).

Command:   python train.py --config=configs/pretrain.py --workdir=DIR --config.data.shards='("TOKEN_SHARDS",)'
Data:      shards with `ssl_tokens` (data/extract_tokens.py); the paper has 300K hours in six languages.
Hardware:  8 x 80 GB in the paper.  Not run at this size here.
Expected:  no published number; what is fine-tuned from it has some (TTS SeedTTS-en WER 2.28, without pre-training
           4.91).
Words:     tiny, quicktest, samples (configs/common.py).
"""

from configs import common
from metis_jax.config import SemanticCodecConfig, SemanticGeneratorConfig

# 760M parameters.  Fine-tuning adds its condition to them.
GENERATOR = dict(width=1536, num_layers=16, num_heads=16, mlp_width=6144, codebook_size=8192)


def get_config(arg: str | None = None):
    given = common.words(arg, common.SAMPLES)
    codec = common.sample_codec(given, "semantic_codec", SemanticCodecConfig)
    return common.experiment(
        given,
        stage="semantic_generator",
        model=dict(
            generator=common.sized(SemanticGeneratorConfig, given, **GENERATOR),
            # Of a row's frames a share of sin(pi t / 2) is masked, t being random; at least this one.
            minimum_rate=0.2,
            # The share of rows that have a prompt, and the share of a row's frames that it stays below.
            prompt_probability=0.85,
            prompt_share=0.4,
            policy=common.policy(given),
            **codec.get("model", {}),
        ),
        initial=codec.get("initial", {}),
        data=dict(stage="pretrain", buckets=(250, 500, 750, 1000, 1250, 1500)),  # frames of 20 ms
        optimizers=dict(
            semantic_generator=common.optimizer(
                given, learning_rate=1e-4, schedule="inverse_sqrt", warmup_steps=32_000, b1=0.9, b2=0.999
            )
        ),
        steps=1_200_000,
        tokens_per_device=10_000,  # 200 s
    )
