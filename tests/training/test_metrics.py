"""What TensorBoard is given: pictures that can be compared, and large enough to read."""

import numpy as np

from metis_jax.training.metrics import LEAST_PIXELS, as_images


def test_pictures_of_a_kind_share_their_colours():
    rng = np.random.default_rng(0)
    original = rng.uniform(-4, 1, (80, 47))
    images = as_images({"original": original, "decoded": original - 2, "same": original})
    np.testing.assert_array_equal(images["original"], images["same"])
    # 40 dB fainter: darker, and not the same picture again.
    assert images["decoded"].mean() < 0.6 * images["original"].mean()


def test_small_pictures_are_drawn_larger_with_the_first_row_at_the_bottom():
    picture = np.zeros((80, 47))
    picture[0, 0] = 1
    (image,) = as_images({"x": picture}).values()
    assert image.dtype == np.uint8 and image.shape[0] >= LEAST_PIXELS[0] and image.shape[1] >= LEAST_PIXELS[1]
    assert image.shape[0] % 80 == 0 and image.shape[1] % 47 == 0
    assert (image[-1, 0] != image[0, 0]).any() and (image[0] == image[0, 0]).all()
    assert as_images({"x": np.zeros((1024, 1500))})["x"].shape == (1024, 1500, 3)
