"""The acoustic codec: parity with the authors' modules, frame counts, padding, receptive field, the published size."""

import dataclasses
import math
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import recipe

from metis_jax.config import SIZES, AcousticCodecConfig
from metis_jax.convert.acoustic_codec import config_from_shapes, rules
from metis_jax.convert.components import rules_for
from metis_jax.convert.rules import to_tensors, to_variables
from metis_jax.models.acoustic_codec import AcousticCodec
from metis_jax.models.components import abstract_variables
from metis_jax.models.spectrum_encoder import SpectrumEncoder
from metis_jax.models.wave_encoder import WaveEncoder, code_frames
from metis_jax.types import Policy
from metis_jax.weights.tensor_files import WeightsError

GOLDEN = Path(__file__).parents[1] / "golden" / "tiny_acoustic_codec.npz"
CONFIG = dataclasses.replace(SIZES["tiny"][AcousticCodecConfig], num_levels=4)
SPECTRUM = dataclasses.replace(CONFIG, encoder="spectrum", encoder_width=16, encoder_layers=2, n_fft=960)


def official_tensors(config):
    shapes = {path: leaf.shape for path, leaf in abstract_variables(config).items()}
    return recipe.state_dict(recipe.official_shapes(rules(config), shapes))


@pytest.fixture(scope="module")
def official():
    return official_tensors(CONFIG)


@pytest.fixture(scope="module")
def variables(official):
    return jax.tree.map(jnp.asarray, to_variables(rules(CONFIG), official))


def codec(variables, *arguments, method):
    return AcousticCodec(CONFIG).apply(variables, *arguments, method=method)


@jax.jit
def encode(variables, wave, lengths):
    latents, frame_lengths = codec(variables, wave, lengths, method="latents")
    output = codec(variables, latents, frame_lengths, method="quantize")
    return {"latents": latents, "codes": output.codes, "quantized": output.quantized}, frame_lengths


@jax.jit
def decode(variables, codes, frame_lengths):
    return codec(variables, codes, frame_lengths, method="decode")


@jax.jit
def embed(variables, codes):
    """The vectors of all levels, and of the first two."""
    return codec(variables, codes, method="embed"), codec(variables, codes, 2, method="embed")


def assert_close(actual, expected, name):
    assert np.linalg.norm(actual - expected) < 1e-4 * np.linalg.norm(expected), name


def test_equals_the_reference(variables):
    golden = np.load(GOLDEN)
    result, frame_lengths = encode(variables, jnp.asarray(golden["waveform"]), jnp.array([11040, 11040], jnp.int32))
    codes = result["codes"]
    assert frame_lengths.tolist() == [23, 23]
    np.testing.assert_array_equal(codes, golden["codes"])
    result["embedding"], result["embedding_first2"] = embed(variables, codes)
    for name in ("latents", "quantized", "embedding", "embedding_first2"):
        assert_close(result[name].transpose(0, 2, 1), golden[name], name)
    assert_close(decode(variables, codes, frame_lengths), golden["reconstruction"], "reconstruction")


def test_a_wave_that_is_no_multiple_of_the_hop_equals_the_reference(variables):
    golden = np.load(GOLDEN)
    wave, expected = golden["waveform_odd"], golden["latents_odd"].transpose(0, 2, 1)
    # Behind padding: that is how it arrives in a batch.
    padded = np.pad(wave, ((0, 1), (0, 11040 - wave.shape[1])), constant_values=1.0)
    result, frame_lengths = encode(variables, jnp.asarray(padded), jnp.array([wave.shape[1], 11040], jnp.int32))
    assert frame_lengths.tolist() == [expected.shape[1], 23]
    assert_close(result["latents"][:1, : expected.shape[1]], expected, "latents")


@pytest.mark.parametrize("encoder", [WaveEncoder(CONFIG, Policy()), SpectrumEncoder(SPECTRUM, Policy())])
@pytest.mark.parametrize("samples", [1, 480, 481, 5403])
def test_the_encoder_makes_as_many_frames_as_promised(encoder, samples):
    promised = code_frames(samples, CONFIG.strides)
    latents, lengths = jax.eval_shape(
        lambda: encoder.init_with_output(
            jax.random.key(0), jnp.zeros((1, samples), jnp.float32), jnp.array([samples], jnp.int32)
        )[0]
    )
    assert latents.shape == (1, promised, CONFIG.latent_width)
    assert code_frames(jnp.array([samples]), CONFIG.strides).tolist() == [promised]


@pytest.mark.parametrize("seed", range(3))
def test_padding_and_neighbours_change_nothing(variables, seed):
    draw = np.random.default_rng(seed)
    samples = int(draw.integers(500, 11040))
    wave, other = draw.normal(size=(2, 2, 11040)).astype(np.float32) * 0.1
    other[0, :samples] = wave[0, :samples]
    first, lengths = encode(variables, jnp.asarray(wave), jnp.array([samples, 11040], jnp.int32))
    second, _ = encode(variables, jnp.asarray(other), jnp.array([samples, 3000], jnp.int32))
    t = int(lengths[0])
    for name, actual in first.items():
        np.testing.assert_allclose(actual[0, :t], second[name][0, :t], atol=1e-5, err_msg=name)
    waves = [decode(variables, x["codes"], lengths)[0, : t * CONFIG.hop] for x in (first, second)]
    np.testing.assert_allclose(waves[0], waves[1], rtol=1e-4, atol=1e-4)


def test_a_row_is_decoded_in_a_batch_as_it_is_alone(variables):
    codes = jnp.asarray(np.random.default_rng(1).integers(0, CONFIG.codebook_size, (2, 23, 4)), jnp.int32)
    batched = decode(variables, codes, jnp.array([9, 23], jnp.int32))
    alone = decode(variables, codes[:1, :9], jnp.array([9], jnp.int32))
    assert alone.shape == (1, 9 * CONFIG.hop)
    assert_close(batched[:1, : 9 * CONFIG.hop], alone, "wave")


def test_a_latent_sees_exactly_the_samples_of_its_convolutions():
    config = dataclasses.replace(CONFIG, encoder_width=4, strides=(2, 3), latent_width=4)
    encoder = WaveEncoder(config, Policy())
    wave = jax.random.normal(jax.random.key(1), (1, 600))
    lengths = jnp.array([600], jnp.int32)
    variables = jax.jit(lambda: nn.unbox(encoder.init(jax.random.key(0), wave, lengths)))()
    frame = 50
    slopes = jax.jit(jax.grad(lambda wave: jnp.sum(encoder.apply(variables, wave, lengths)[0][0, frame])))(wave)
    first, last = frame - 1, frame + 1
    for stride in reversed(config.strides):
        side = math.ceil(stride / 2)
        first, last = first * stride - side, last * stride - side + 2 * stride - 1
        units = 3 * (1 + 3 + 9)
        first, last = first - units, last + units
    seen = np.flatnonzero(slopes[0])
    assert (seen[0], seen[-1]) == (first - 3, last + 3)


@pytest.fixture(scope="module")
def spectrum():
    shape, lengths = jnp.zeros((1, 960), jnp.float32), jnp.array([960], jnp.int32)
    return jax.jit(lambda: nn.unbox(AcousticCodec(SPECTRUM).init(jax.random.key(0), shape, lengths)))()


@jax.jit
def spectrum_latents(variables, wave, lengths):
    return AcousticCodec(SPECTRUM).apply(variables, wave, lengths, method="latents")


@pytest.mark.parametrize("samples", [500, 4800, 7205])
def test_latents_of_spectra_do_not_depend_on_padding_and_neighbours(spectrum, samples):
    draw = np.random.default_rng(samples)
    wave = draw.normal(size=(2, 11040)).astype(np.float32) * 0.1
    batched, lengths = spectrum_latents(spectrum, jnp.asarray(wave), jnp.array([samples, 11040], jnp.int32))
    alone, _ = spectrum_latents(spectrum, jnp.asarray(wave[:1, :samples]), jnp.array([samples], jnp.int32))
    t = int(lengths[0])
    assert np.std(alone) > 0.1
    np.testing.assert_allclose(batched[0, :t], alone[0, :t], atol=1e-5)


def test_the_residual_loss_is_the_share_that_is_left(spectrum):
    config = dataclasses.replace(SPECTRUM, quantizer_dropout=0.0)
    wave = jnp.asarray(np.random.default_rng(7).normal(size=(2, 4800)), jnp.float32) * 0.1
    lengths = jnp.array([4800, 3360], jnp.int32)

    def loss(params):
        return jnp.sum(AcousticCodec(config).apply({**spectrum, "params": params}, wave, lengths)[1].residual_loss)

    value, gradient = jax.jit(jax.value_and_grad(loss))(spectrum["params"])

    @jax.jit
    def parts(variables):
        latents, frames = AcousticCodec(config).apply(variables, wave, lengths, method="latents")
        return latents, frames, AcousticCodec(config).apply(variables, latents, frames, method="quantize").quantized

    latents, frames, quantized = parts(spectrum)
    left = latents - quantized
    expected = [np.sum(np.square(left[i, :t])) / np.sum(np.square(latents[i, :t])) for i, t in enumerate(frames)]
    np.testing.assert_allclose(value, sum(expected), rtol=1e-5)
    # A straight-through estimator passes the codebook by: codes have a loss of their own.
    projections = {name: leaf for name, leaf in gradient["quantizer"]["levels"].items() if name != "codebook"}
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(projections))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient["decoder"]))


@pytest.mark.parametrize("changes", [{"encoder": "mel"}, {"encoder": "spectrum"}, {"encoder_layers": 2}])
def test_an_encoder_that_does_not_exist_is_refused(changes):
    with pytest.raises(ValueError, match="encoder"):
        dataclasses.replace(CONFIG, **changes)


def test_a_hop_that_spectra_can_not_be_stacked_to_is_refused():
    with pytest.raises(ValueError, match="multiple of 4"):
        dataclasses.replace(SPECTRUM, strides=(3, 5))


def test_the_authors_layout_has_no_place_for_spectra():
    with pytest.raises(WeightsError, match="spectrum"):
        rules_for(SPECTRUM)


def test_conversion_is_lossless_and_finds_the_sizes(official, variables):
    found = config_from_shapes({name: tensor.shape for name, tensor in official.items()})
    assert found == CONFIG
    back = to_tensors(rules(CONFIG), variables)
    assert back.keys() == official.keys()
    assert all(np.array_equal(back[name], tensor) for name, tensor in official.items())


def test_published_size():
    sizes = {}
    for path, leaf in abstract_variables(AcousticCodecConfig()).items():
        collection, module, _ = path.split("/", 2)
        part = (collection, module == "encoder")
        sizes[part] = sizes.get(part, 0) + math.prod(leaf.shape)
    assert sizes == {("params", True): 42_540_224, ("params", False): 128_198_082 - 1920, ("buffers", False): 1920}


@pytest.mark.slow
def test_every_parameter_gets_a_finite_gradient():
    config = dataclasses.replace(CONFIG, strides=(2, 3), n_fft=24, decoder_layers=1, quantizer_dropout=0.5)
    variables = jax.tree.map(jnp.asarray, to_variables(rules(config), official_tensors(config)))
    wave = jnp.asarray(np.random.default_rng(2).normal(size=(4, 72)), jnp.float32) * 0.1
    lengths = jnp.array([72, 72, 50, 24], jnp.int32)

    def loss(params, policy):
        reconstruction, output = AcousticCodec(config, policy).apply(
            variables | {"params": params},
            wave,
            lengths,
            deterministic=False,
            rngs={"codebook_dropout": jax.random.key(0)},
        )
        return jnp.mean(jnp.abs(reconstruction - wave)) + jnp.sum(output.commitment_loss + output.codebook_loss)

    gradients = jax.jit(jax.grad(loss), static_argnums=1)(variables["params"], Policy(remat="full"))
    for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, jax.tree_util.keystr(path)


def test_an_overflowing_magnitude_is_clipped_with_a_finite_gradient(variables):
    params = variables["params"]
    out = params["decoder"]["out"]
    loud = params | {"decoder": params["decoder"] | {"out": out | {"bias": out["bias"] + 200}}}
    codes = jnp.zeros((1, 3, 4), jnp.int32)

    def energy(params):
        wave = codec(variables | {"params": params}, codes, jnp.array([3], jnp.int32), method="decode")
        return jnp.mean(jnp.square(wave))

    value, gradient = jax.jit(jax.value_and_grad(energy))(loud)
    assert 0 < value < 100**2 * CONFIG.n_fft
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
