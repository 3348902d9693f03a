from metis_jax.clock import ssl_frames, ssl_samples


def test_frames_and_samples_are_inverse():
    for frames in range(1, 400):
        assert ssl_frames(ssl_samples(frames)) == frames
    assert [ssl_frames(samples) for samples in (0, 399, 400, 559, 720, 16_000)] == [0, 0, 1, 1, 2, 49]
