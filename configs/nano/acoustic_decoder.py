"""The decoder of the nano acoustic codec once more, against discriminators: codes stay what they are.

Command:   python train.py --config=configs/nano/acoustic_decoder.py --workdir=DIR --config.data.shards='("SHARDS",)' \
               --config.initial.acoustic_codec=BUNDLE
Hardware:  two CPU cores.  Whatever learns from acoustic tokens can be trained meanwhile.
"""

from configs.nano import common as nano
from metis_jax.config import AcousticCodecConfig, DiscriminatorConfig

STEPS = 8000


def get_config(arg: str | None = None):
    given = nano.words(arg)
    gan = dict(learning_rate=3e-4, b1=0.8, b2=0.99, clip_norm=10.0)
    decoder_alone = ((r"params/decoder/.*", True), (r".*", False))
    return nano.experiment(
        given,
        stage="acoustic_codec",
        model=dict(
            acoustic_codec=nano.sized(AcousticCodecConfig, given, quantizer_dropout=0.0),
            discriminators=nano.sized(DiscriminatorConfig, given),
        ),
        data=dict(
            stage="acoustic_codec",
            buckets=(25,),
            recipe=dict(min_frames=25),
            example=dict(gain_db=(-9.0, 3.0)),
        ),
        optimizers=dict(
            acoustic_codec=nano.optimizer(given, STEPS, trainable=decoder_alone, **gan),
            discriminators=nano.optimizer(given, STEPS, **gan),
        ),
        initial=dict(acoustic_codec=""),
        steps=STEPS,
        batch_size=8,
    )
