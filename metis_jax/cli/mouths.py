"""The mouth in a video, as a lip reader sees it.

    metis-mouths VIDEO --output=crops.npz [--sheet=sheet.png] [--face=2] [--landmarks=points.npz]

Writes `crops` [t, 88, 88], grey pictures at 25 a second, and `mouth` [t, 2, 2], the corners of the mouth in pixels of
the video.  Exit status: 0; 2 with one line on stderr when there is no such video, or no face in it.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from metis_jax.cli import command
from metis_jax.files.outputs import new_file
from metis_jax.files.places import check_is_local
from metis_jax.video.errors import MissingVideoExtra
from metis_jax.video.mouths import MouthVideo, find_mouth, read_landmarks, write_mouths
from metis_jax.video.sheet import chosen, png, sheet_of


def _flags() -> flags.FlagValues:
    values = command.new_flags()
    flags.DEFINE_string("output", None, "The .npz file to write.", flag_values=values)
    flags.DEFINE_string("sheet", None, "A PNG of the crops, to be looked at.", flag_values=values)
    flags.DEFINE_integer(
        "face", 1, "Which face, where there are several: 1 is the largest and steadiest.", flag_values=values
    )
    flags.DEFINE_string(
        "landmarks",
        None,
        "Instead of looking for faces: an .npz file of `points` [t, 5, 2], the eyes, the nose and the corners of the "
        "mouth from left to right at 25 pictures a second, in pixels; NaN where they are not known.",
        flag_values=values,
    )
    return values


def main(argv: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if argv is None else argv)
    video = given.pop(0) if given and not given[0].startswith("-") else None
    return command.run(
        "video", __doc__, _flags(), lambda values: _run(video, values), given, refusals=(MissingVideoExtra,)
    )


def _run(video: str | None, given: flags.FlagValues) -> None:
    if video is None:
        raise ValueError("give a video first, then flags; see --help")
    command.require(given, "output")
    check_is_local(video)
    places = [Path(place).resolve() for place in (video, given.landmarks, given.output, given.sheet) if place]
    if len(set(places)) < len(places):
        raise ValueError(f"{given.output}: is another input or output too; name each file once")
    landmarks = read_landmarks(given.landmarks) if given.landmarks else None
    found = find_mouth(video, face=given.face, landmarks=landmarks)
    write_mouths(given.output, found)
    if given.sheet:
        _write_sheet(given.sheet, found)
    print(_summary(found, given.face))


def _write_sheet(path: str, found: MouthVideo) -> None:
    shown = set(chosen(len(found)))
    crops = [crop for index, crop in enumerate(found.crops()) if index in shown]
    with new_file(path) as partial:
        partial.write_bytes(png(sheet_of(crops)))


def _summary(found: MouthVideo, face: int) -> str:
    followed = found.followed
    middle = np.median(found.mouth, axis=(0, 1))
    text = f"{len(found)} pictures, the face is seen in {followed.is_seen.sum()}, its mouth about "
    text += f"({middle[0]:.0f}, {middle[1]:.0f})"
    if followed.faces > 1:
        text += f"; of {followed.faces} faces this is number {face}, --face chooses another"
    return text


if __name__ == "__main__":
    sys.exit(main())
