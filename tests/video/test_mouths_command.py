"""`python -m metis_jax.video`: a video to crops, in a line; or one line that says why not."""

from pathlib import Path

import numpy as np
import pytest

from metis_jax.cli.mouths import main
from metis_jax.files.inputs import read_arrays

pytestmark = pytest.mark.extra("video", "av")
CLIP = Path(__file__).parents[1] / "golden" / "video" / "face.mp4"
POINTS = np.array([(152.0, 155), (203, 156), (175, 184), (155, 214), (194, 215)])


def test_crops_and_a_sheet(tmp_path, capsys):
    np.savez(tmp_path / "points.npz", points=np.tile(POINTS, (25, 1, 1)))
    output, sheet = tmp_path / "crops.npz", tmp_path / "sheet.png"
    flags = [f"--output={output}", f"--sheet={sheet}", f"--landmarks={tmp_path / 'points.npz'}"]
    assert main([str(CLIP), *flags]) == 0
    assert capsys.readouterr().out == "25 pictures, the face is seen in 25, its mouth about (174, 214)\n"
    assert {name: array.shape for name, array in read_arrays(output).items()} == {
        "crops": (25, 88, 88),
        "mouth": (25, 2, 2),
    }
    assert sheet.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "give a video first"),
        (["--output=a.npz"], "give a video first"),
        ([str(CLIP)], "give --output"),
        ([str(CLIP), f"--output={CLIP}"], "is another input or output too"),
        (["none.mp4", "--output=a.npz"], "none.mp4: No such file or directory"),
        ([str(Path(__file__)), "--output=a.npz"], "can not be read as a video"),
        ([str(CLIP), "--output=a.npz", "--face=x"], "face"),
    ],
)
def test_refusals_are_one_line(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("video: ") and said in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())
