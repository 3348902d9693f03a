"""Renaming rules: inverse of each other, complete, and clear about what does not fit."""

import numpy as np
import pytest

from metis_jax.convert.rules import LAYOUTS, Rule, match_rules, to_tensors, to_variables
from metis_jax.weights.tensor_files import WeightsError

RULES = [
    Rule("params/layers/kernel", "block.{layer}.unit.{unit}.weight", "pointwise"),
    Rule("params/gain", "gain", "gain"),
    Rule("params/mask", "mask.weight", "row"),
    Rule("unused/table", "table"),
    Rule("unused/count", "count"),
]


def tensors():
    draw = np.random.default_rng(0)
    stack = {f"block.{i}.unit.{j}.weight": draw.normal(size=(3, 4, 1)) for i in range(2) for j in range(11)}
    single = {"gain": draw.normal(size=(3, 1, 1)), "mask.weight": draw.normal(size=(1, 7))}
    return stack | single | {"table": np.zeros((0, 5), np.float32), "count": np.array(3, np.int64)}


def test_there_and_back_is_bit_for_bit():
    original = tensors()
    back = to_tensors(RULES, to_variables(RULES, original))
    assert set(back) == set(original)
    for name, tensor in original.items():
        assert back[name].shape == tensor.shape and back[name].dtype == tensor.dtype
        assert back[name].tobytes() == tensor.tobytes()


def test_stacks_follow_the_numbers_not_the_spelling():
    original = tensors()
    kernel = to_variables(RULES, original)["params"]["layers"]["kernel"]
    assert kernel.shape == (2, 11, 4, 3)
    np.testing.assert_array_equal(kernel[1, 10], original["block.1.unit.10.weight"][:, :, 0].T)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_invertible(name):
    layout = LAYOUTS[name]
    letters = layout.official or "ab"
    shape = [1 if letter == "1" else size for letter, size in zip(letters, (2, 3, 4, 5, 6), strict=False)]
    tensor = np.arange(np.prod(shape)).reshape(shape)
    assert layout.accepts(shape)
    np.testing.assert_array_equal(layout.to_official(layout.to_ours(tensor)), tensor)


def test_convolution_kernels_land_where_flax_wants_them():
    assert LAYOUTS["conv1d"].to_ours(np.zeros((2, 3, 4))).shape == (4, 3, 2)
    assert LAYOUTS["conv2d"].to_ours(np.zeros((2, 3, 4, 5))).shape == (4, 5, 3, 2)
    assert LAYOUTS["conv3d"].to_ours(np.zeros((2, 3, 4, 5, 6))).shape == (4, 5, 6, 3, 2)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.pop("block.1.unit.2.weight"), r"'block.1.unit.2.weight' is missing, expected shape \[3, 4, 1\]"),
        (lambda t: t.pop("gain"), "tensor 'gain' is missing"),
        (lambda t: t.update(other=np.ones(2)), r"tensor 'other' of shape \[2\] is not expected"),
        (lambda t: t.update(gain=np.ones((3, 2, 1))), r"'gain': expected axes \[c, 1, 1\], found shape \[3, 2, 1\]"),
        (
            lambda t: t.update({"block.0.unit.3.weight": np.ones((3, 3, 1))}),
            r"'block.0.unit.3.weight': expected shape \[3, 4, 1\], found \[3, 3, 1\]",
        ),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    changed = tensors()
    change(changed)
    with pytest.raises(WeightsError, match=message) as caught:
        to_variables(RULES, changed, file="model.safetensors")
    assert str(caught.value).startswith("model.safetensors: ")


def test_two_rules_may_not_claim_one_tensor():
    rules = [*RULES, Rule("params/again", "gain", "gain")]
    shapes = {name: tensor.shape for name, tensor in tensors().items()}
    with pytest.raises(ValueError, match="claimed by two rules"):
        match_rules(rules, shapes, file="x")


def test_a_missing_variable_is_named_on_the_way_back():
    with pytest.raises(WeightsError, match="'params/gain' is missing"):
        to_tensors(RULES, {"params": {}, "unused": {}} | {"params": {"layers": {"kernel": np.zeros((1, 1, 1, 1))}}})
