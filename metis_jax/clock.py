"""The clock that waves and tokens share: rates, hops, and how many frames a wave has.

Every sequence of the chain runs at 50 frames a second.  The SSL front end hears waves at 16 kHz and turns `l` samples
into ceil((1 + (l - 400) // 160) / 2) frames of 320 samples; the acoustic codec has frames of 480 samples at 24 kHz.
"""

SSL_RATE = 16_000
SSL_HOP = 320
CODEC_RATE = 24_000
CODEC_HOP = 480
FRAME_RATE = 50

_WINDOW, _SHIFT = 400, 160  # samples per log-mel frame and between two; two frames are stacked


def ssl_frames(samples: int) -> int:
    """SSL frames of a 16 kHz wave of `samples`."""
    if samples < _WINDOW:
        return 0
    return (2 + (samples - _WINDOW) // _SHIFT) // 2


def ssl_samples(frames: int) -> int:
    """The samples that exactly `frames` SSL frames look at: `ssl_frames(ssl_samples(t)) == t`."""
    return SSL_HOP * frames + _WINDOW - _SHIFT if frames else 0
