"""Nano acoustic decoder: pulses and noise through learned filters, for the codes of the acoustic codec as they are.

Command:   python train.py --config=nano/configs/acoustic_decoder.py --workdir=DIR \
               --config.data.shards='("SHARDS",)' --config.initial.acoustic_codec=BUNDLE
Hardware:  two CPU cores.
"""

from metis_jax.config import AcousticCodecConfig
from nano.configs import common as nano
from nano.configs.acoustic_codec import ADAM, DATA

STEPS = 15_000
DECODER_ONLY = ((r"params/decoder/.*", True), (r".*", False))


def get_config(arg: str | None = None):
    given = nano.words(arg)
    return nano.experiment(
        given,
        stage="acoustic_codec",
        model=dict(acoustic_codec=nano.sized(AcousticCodecConfig, given, decoder="source_filter", n_fft=480)),
        data=DATA,
        optimizers=dict(acoustic_codec=nano.optimizer(given, STEPS, **ADAM, trainable=DECODER_ONLY)),
        initial=dict(acoustic_codec=""),
        # Of the decoder before, whose backbone this one goes on with.
        skip_initial=("acoustic_codec/params/decoder/out/.*", "acoustic_codec/buffers/.*"),
        steps=STEPS,
        tokens_per_device=200,
    )
