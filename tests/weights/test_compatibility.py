"""Models that do not fit one another are refused by name, before weights are read."""

import dataclasses

import pytest
from mini_chain import COMPONENTS, SPEAKING

from metis_jax.weights.bundle import Bundle
from metis_jax.weights.compatibility import check_generator, check_models
from metis_jax.weights.tensor_files import WeightsError

NAMES = tuple(name for name in COMPONENTS if name != "semantic_generator")


class Unwritten(Bundle):
    """What is asked of a bundle, without files."""

    def __init__(self, components):
        self.path, self.components = "here", components

    def file(self, name):
        assert name in self.components


def bundle(**changes):
    """All of a chain, with other sizes or another configuration of some components."""
    configs = dict(COMPONENTS)
    for name, fields in changes.items():
        configs[name] = dataclasses.replace(configs[name], **fields) if isinstance(fields, dict) else fields
    return Unwritten(configs)


def test_what_fits_passes():
    check_models(bundle(), NAMES)
    check_generator(bundle(), "se", COMPONENTS["semantic_generator"])
    check_models(bundle(acoustic_codec={"sample_rate": 8000}), ("ssl_encoder", "semantic_codec"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ssl_encoder": {"sample_rate": 8000}}, "ssl_encoder has sample_rate 8000; expected 16000"),
        ({"ssl_encoder": {"frame_stack": 4}}, "ssl_encoder has hop 640; expected 320"),
        ({"acoustic_codec": {"sample_rate": 48000}}, "acoustic_codec has sample_rate 48000; expected 24000"),
        ({"acoustic_codec": {"strides": (2, 4, 5, 8)}}, "acoustic_codec has hop 320; expected 480"),
        ({"semantic_codec": {"feature_width": 65}}, "semantic_codec has feature_width 65, but ssl_encoder has .* 64"),
        ({"semantic_codec": {"codebook_size": 9}}, "acoustic_generator_first has semantic_codebook_size 128, but"),
        ({"acoustic_codec": {"codebook_size": 9}}, "acoustic_generator_first has codebook_size 64, but acoustic_codec"),
        ({"acoustic_generator_first": {"num_levels": 2}}, "acoustic_generator_first has num_levels 2; expected 1"),
        ({"acoustic_generator_full": {"num_levels": 4}}, "acoustic_generator_full has num_levels 4, but acoustic_cod"),
        ({"semantic_codec": COMPONENTS["acoustic_codec"]}, "semantic_codec is a acoustic_codec; expected a semantic"),
    ],
)
def test_what_does_not_fit_is_named(changes, message):
    with pytest.raises(WeightsError, match=f"^here: {message}"):
        check_models(bundle(**changes), NAMES)


def test_generators_of_other_codes_or_features_are_refused():
    with pytest.raises(WeightsError, match="the generator of vc has 99 codes, the semantic_codec 128"):
        check_generator(bundle(), "vc", dataclasses.replace(SPEAKING, codebook_size=99))
    with pytest.raises(WeightsError, match="hears features of width 63, those of the ssl_encoder have 64"):
        check_generator(bundle(), "vc", dataclasses.replace(SPEAKING, condition_width=63))
