"""The sound of a video, and a wave put onto a copy of one."""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Float

from metis_jax.files.outputs import new_file
from metis_jax.video.errors import VideoError, require
from metis_jax.video.frames import opened

SUFFIXES = (".mp4", ".mov", ".mkv")
_BLOCK = 1024  # samples that AAC codes at once


def read_sound(path: str | os.PathLike) -> tuple[Float[np.ndarray, " l"], int]:
    """The sound of a video, channels averaged, and its rate in Hz.  Its first sample is heard with the first picture.

    VideoError where it has none.
    """
    av = require("av")
    with opened(path) as (container, pictures):
        if not container.streams.audio:
            raise VideoError(f"{path}: has no sound")
        sound = container.streams.audio[0]
        rate, begin = sound.rate, None
        mono = av.AudioResampler(format="fltp", layout="mono", rate=rate)
        blocks: list[np.ndarray] = []
        try:
            for frame in container.decode(sound):
                if begin is None:
                    begin = (frame.pts or 0) * sound.time_base
                blocks += [part.to_ndarray()[0] for part in mono.resample(frame)]
        except av.InvalidDataError:
            pass  # what is damaged is left out, as players do
        if not blocks:
            raise VideoError(f"{path}: its sound can not be decoded")
        ahead = round((begin - (pictures.start_time or 0) * pictures.time_base) * rate)
    wave = np.concatenate(blocks)
    return (np.pad(wave, (ahead, 0)) if ahead > 0 else wave[-ahead:]), rate


def check_output(path: str | os.PathLike) -> None:
    """VideoError for a place where `write_with_sound` can not write; asked before any computing."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise VideoError(f"{path}: is no name of a video; end it in {', '.join(SUFFIXES)}")
    if path.is_dir():
        raise VideoError(f"{path}: is a directory; name a file")
    if not path.parent.is_dir():
        raise VideoError(f"{path}: the directory {path.parent} does not exist")


def write_with_sound(
    path: str | os.PathLike, video: str | os.PathLike, wave: Float[np.ndarray, " l"], rate: int
) -> None:
    """The pictures of a video as they are stored, with a mono wave, which begins with the first, instead of its sound.

    VideoError where the container named by `path` does not hold what the video is coded in; `.mkv` holds most.
    """
    check_output(path)
    av = require("av")
    kind = "matroska" if os.fspath(path).lower().endswith(".mkv") else os.fspath(path)[-3:].lower()
    with opened(video) as (source, stream), new_file(path) as partial:
        try:
            with av.open(f"file:{partial}", "w", format=kind) as target:
                pictures = target.add_stream_from_template(stream)
                sound = target.add_stream("aac", rate=rate)
                sound.layout = "mono"
                first = None
                for packet in source.demux(stream):
                    if packet.dts is None:  # what ends the stream
                        continue
                    begin = packet.dts if packet.pts is None else packet.pts
                    first = begin if first is None else min(first, begin)
                    packet.stream = pictures
                    target.mux(packet)
                start = round((first or 0) * stream.time_base * rate)
                for place in range(0, len(wave), _BLOCK):
                    block = np.ascontiguousarray(wave[None, place : place + _BLOCK], np.float32)
                    frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
                    frame.sample_rate, frame.pts = rate, start + place
                    target.mux(sound.encode(frame))
                target.mux(sound.encode(None))
        except (av.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise VideoError(f"{path}: {stream.codec_context.name} does not go into it ({reason}); try .mkv") from None
