"""The acoustic codec: 24 kHz speech to twelve residual levels at 50 Hz and back (MaskGCT section 3.2.3).

Command:   python train.py --config=configs/acoustic_codec.py --workdir=DIR --config.data.shards='("SHARDS",)'
Data:      shards of speech (data/prepare.py); recordings of less than 24 kHz are left out.
Hardware:  8 x 80 GB; 72 crops of one second.  Not run at this size here.
Source:    losses, optimizers and random phase are DAC's (arXiv 2306.06546 section 4.2 and its conf/base.yml).  Levels
           vary over 15 dB in place of its one loudness, which its encoder sets and ours does not.
Expected:  no published number for this codec alone.
Words:     tiny, quicktest (configs/common.py).
"""

from configs import common
from metis_jax.config import AcousticCodecConfig, DiscriminatorConfig

STEPS = 400_000


def get_config(arg: str | None = None):
    given = common.words(arg)
    adam = dict(
        learning_rate=1e-4,
        schedule="exponential",
        warmup_steps=0,
        total_steps=STEPS,
        final_fraction=0.999996**STEPS,
        b1=0.8,
        b2=0.99,
    )
    return common.experiment(
        given,
        stage="acoustic_codec",
        model=dict(
            acoustic_codec=common.sized(
                AcousticCodecConfig,
                given,
                encoder_width=96,
                strides=(3, 4, 5, 8),  # 480 samples a frame
                latent_width=256,
                num_levels=12,
                codebook_size=1024,
                code_width=8,
                decoder_width=512,
                decoder_mlp_width=4096,
                decoder_layers=30,
                n_fft=1920,
                quantizer_dropout=0.5,
                codebook_weight=1.0,
                commitment_weight=0.25,
            ),
            discriminators=common.sized(
                DiscriminatorConfig, given, periods=(2, 3, 5, 7, 11), window_lengths=(2048, 1024, 512)
            ),
            mel_weight=15.0,
            adversarial_weight=1.0,
            matching_weight=2.0,
            policy=common.policy(given, dtype="float32"),
        ),
        data=dict(
            stage="acoustic_codec",
            buckets=(50,),  # frames of 20 ms
            recipe=dict(min_frames=25),
            example=dict(gain_db=(-12.0, 3.0), random_phase=True),
            parts=(dict(select=dict(min_sample_rate=24_000)),),
        ),
        optimizers=dict(
            acoustic_codec=common.optimizer(given, **adam, clip_norm=1000.0),
            discriminators=common.optimizer(given, **adam, clip_norm=10.0),
        ),
        steps=STEPS,
        tokens_per_device=450,  # 9 s
        ema_decay=0.999,
        tiny_buckets=(25,),
        quick_buckets=(25,),
    )
