"""Components of several bundles in one, in the precision that is asked for."""

import dataclasses

import flax
import numpy as np
import pytest
from safetensors.numpy import load_file

from metis_jax.cli import assemble
from metis_jax.config import SIZES, AcousticCodecConfig, LoraConfig, SemanticGeneratorConfig, SslEncoderConfig
from metis_jax.inference.metis import Metis, Settings
from metis_jax.weights.bundle import Bundle, TaskAdapterConfig, stored_shapes
from metis_jax.weights.bundle_writer import write_bundle

CODEC = SIZES["tiny"][AcousticCodecConfig]
GENERATOR = dataclasses.replace(SIZES["tiny"][SemanticGeneratorConfig], condition="gated")
BASE = dataclasses.replace(GENERATOR, condition="none")
ADAPTER = TaskAdapterConfig(
    base="semantic_generator",
    lora=LoraConfig(rank=2),
    condition="gated",
    condition_width=GENERATOR.condition_width,
    phone_vocabulary=0,
)
OWN_VOICE = '{"own_voice": true}'


def write(path, scale=1.0, **components):
    with write_bundle(path, license="MIT", provenance="drawn for a test") as bundle:
        for name, config in components.items():
            draw = np.random.default_rng(len(name))
            base = components.get(getattr(config, "base", None))
            flat = {place: scale * draw.normal(size=shape) for place, shape in stored_shapes(config, base).items()}
            flat = {place: leaf.astype(np.float32) for place, leaf in flat.items()}
            bundle.add(name, config, flax.traverse_util.unflatten_dict(flat, sep="/"))
    return path


def command(tmp_path, *components, **flags):
    flags = {"output": tmp_path / "all", "license": "MIT", "provenance": "a test"} | flags
    return [f"--{name}={value}" for name, value in flags.items()] + [f"--component={text}" for text in components]


def test_parameters_are_halved_and_the_rest_is_not(tmp_path):
    codec = write(tmp_path / "one", acoustic_codec=CODEC)
    generator = write(tmp_path / "two", renamed=GENERATOR)
    components = f"acoustic_codec={codec}", f"semantic_generator={generator}:renamed"
    assert assemble.main(command(tmp_path, *components, task="se,vc", dtype="float16")) == 0

    found = Bundle(tmp_path / "all")
    assert set(found.tasks) == {"se", "vc"}
    stored = load_file(tmp_path / "all" / "acoustic_codec.safetensors")
    assert {str(leaf.dtype) for name, leaf in stored.items() if name.startswith("params/")} == {"float16"}
    assert stored["buffers/decoder/window"].dtype == np.float32
    before = load_file(tmp_path / "two" / "renamed.safetensors")
    after = flax.traverse_util.flatten_dict(found.load_generator("vc").variables, sep="/")
    for name, leaf in before.items():
        assert after[name].dtype == np.float32
        np.testing.assert_allclose(after[name], leaf, rtol=1e-3, atol=1e-7)


def test_an_encoder_that_runs_fewer_layers_than_it_has_is_kept_whole(tmp_path):
    encoder = SIZES["tiny"][SslEncoderConfig]
    assert encoder.hidden_layer < encoder.num_layers
    one = write(tmp_path / "one", ssl_encoder=encoder)
    assert assemble.main(command(tmp_path, f"ssl_encoder={one}")) == 0
    assert Bundle(tmp_path / "all").components["ssl_encoder"] == encoder
    before, after = (load_file(place / "ssl_encoder.safetensors") for place in (one, tmp_path / "all"))
    assert before.keys() == after.keys()
    for name, leaf in before.items():
        np.testing.assert_array_equal(after[name], leaf)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["../evil"], "component name is '../evil'"),
        (["/tmp/evil"], "component name is '/tmp/evil'"),
        (["acoustic_codec", "acoustic_codec"], "--component=acoustic_codec=… is given twice"),
    ],
)
def test_names_that_would_write_elsewhere_or_over_another_are_refused(tmp_path, capsys, names, message):
    codec = write(tmp_path / "one", acoustic_codec=CODEC)
    before = sorted(tmp_path.rglob("*"))
    assert assemble.main(command(tmp_path, *(f"{name}={codec}:acoustic_codec" for name in names))) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and sorted(tmp_path.rglob("*")) == before


def test_decoding_settings_travel_with_the_bundle(tmp_path):
    generator = write(tmp_path / "one", semantic_generator=GENERATOR)
    wanted = '{"first_level": {"steps": [8, 2], "temperature": 0.5}, "semantic": {"steps": [6]}}'
    flags = command(tmp_path, f"semantic_generator={generator}", task="se", decoding=wanted)
    assert assemble.main(flags) == 0
    settings = Metis.from_pretrained(tmp_path / "all").settings("se", guidance=1.5)
    released = Settings.of("se")
    assert settings.first_level == dataclasses.replace(released.first_level, steps=(8, 2), temperature=0.5)
    assert settings.semantic == dataclasses.replace(released.semantic, steps=(6,), guidance=1.5)
    assert settings.other_levels == released.other_levels


def test_a_task_can_be_decoded_in_its_own_way(tmp_path):
    generator = write(tmp_path / "one", semantic_generator=GENERATOR)
    wanted = '{"semantic": {"steps": [1], "temperature": 0.0}, "se": {"semantic": {"guidance": 3.0}}}'
    assert assemble.main(command(tmp_path, f"semantic_generator={generator}", task="se,vc", decoding=wanted)) == 0
    metis = Metis.from_pretrained(tmp_path / "all")
    se, vc = (metis.settings(task).semantic for task in ("se", "vc"))
    assert se.guidance == 3.0 != vc.guidance and se.steps == vc.steps == (1,)


def test_licence_provenance_and_decoding_are_the_sources(tmp_path, capsys):
    generator = write(tmp_path / "one", semantic_generator=GENERATOR)
    assert assemble.main(command(tmp_path, f"semantic_generator={generator}", task="vc", decoding=OWN_VOICE)) == 0
    codec = write(tmp_path / "two", acoustic_codec=CODEC)
    parts = f"semantic_generator={tmp_path / 'all'}", f"acoustic_codec={codec}"
    flags = command(tmp_path, *parts, task="vc", output=tmp_path / "again", license="", provenance="")
    assert assemble.main(flags) == 0
    again = Bundle(tmp_path / "again")
    assert again.decoding == {"own_voice": True}
    assert (again.license, again.provenance) == ("MIT", "a test; drawn for a test")
    # Where sources differ, somebody has to say.
    other = command(tmp_path, f"acoustic_codec={codec}", output=tmp_path / "other", decoding='{"own_voice": false}')
    assert assemble.main(other) == 0
    parts = f"semantic_generator={tmp_path / 'all'}", f"acoustic_codec={tmp_path / 'other'}"
    assert assemble.main(command(tmp_path, *parts, output=tmp_path / "mixed")) == 2
    assert "want different decoding; give it as --decoding" in capsys.readouterr().err


def test_of_several_windows_the_shortest_is_kept(tmp_path):
    parts = []
    for kind, config, frames in (("semantic_generator", GENERATOR, 400), ("acoustic_codec", CODEC, 900)):
        parts.append(f"{kind}={write(tmp_path / kind, **{kind: config})}")
        wanted = f'{{"window": {{"frames": {frames}, "overlap": 60}}}}'
        assert assemble.main(command(tmp_path, parts[-1], output=tmp_path / f"{kind}_in", decoding=wanted)) == 0
        parts[-1] = f"{kind}={tmp_path / f'{kind}_in'}"
    assert assemble.main(command(tmp_path, *parts)) == 0
    assert Bundle(tmp_path / "all").decoding == {"window": {"frames": 400, "overlap": 60}}


@pytest.mark.parametrize(
    ("decoding", "message"),
    [
        ('{"se": 1}', "decoding.se is 1; expected its settings by name"),
        ('{"se": {"semantics": {}}}', "decoding.se has no stage 'semantics'"),
    ],
)
def test_decoding_that_can_not_be_is_refused(tmp_path, capsys, decoding, message):
    generator = write(tmp_path / "one", semantic_generator=GENERATOR)
    assert assemble.main(command(tmp_path, f"semantic_generator={generator}", task="se", decoding=decoding)) == 2
    assert message in capsys.readouterr().err


def test_enhancement_alone_takes_the_voice_from_its_source(tmp_path):
    generator = write(tmp_path / "one", semantic_generator=GENERATOR)
    flags = command(tmp_path, f"semantic_generator={generator}", task="se,vc", decoding=OWN_VOICE)
    assert assemble.main(flags) == 0
    metis = Metis.from_pretrained(tmp_path / "all")
    assert metis.settings("se").own_voice and not metis.settings("vc").own_voice


def test_an_adapter_serves_the_tasks_that_name_it(tmp_path):
    trained = write(tmp_path / "one", semantic_generator=BASE, se_vc_adapter=ADAPTER)
    # The order in which components are given says nothing.
    components = f"own={trained}:se_vc_adapter", f"semantic_generator={trained}"
    assert assemble.main(command(tmp_path, *components, task="se=own,vc=own")) == 0
    found = Bundle(tmp_path / "all")
    assert {task: parts.adapter for task, parts in found.tasks.items()} == {"se": "own", "vc": "own"}
    served = found.load_generator("vc")
    assert served.config.condition == "gated" and served.lora == ADAPTER.lora
    expected = Bundle(trained).load("se_vc_adapter")[1]["params"]["condition_adapter"]["gate"]
    np.testing.assert_array_equal(served.variables["params"]["condition_adapter"]["gate"], expected)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("se", "task se: the generator has no condition"),
        ("se=own,tts", "task tts: the generator has no phones"),
        ("tts=own", "task tts: the generator has no phones"),
        ("se=other", "names the adapter 'other'"),
    ],
)
def test_a_task_that_nothing_can_serve_is_refused(tmp_path, capsys, task, message):
    trained = write(tmp_path / "one", semantic_generator=BASE, own=ADAPTER)
    components = f"semantic_generator={trained}", f"own={trained}"
    assert assemble.main(command(tmp_path, *components, task=task)) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"task": "se", "decoding": "{'a'}"}, "--decoding: not valid JSON (Exp"),
        ({"task": "se", "decoding": '{"third_level": {}}'}, "no stage 'third_level'"),
        ({"task": "se", "decoding": '{"semantic": {"heat": 1}}'}, "decoding.semantic has no field 'heat'"),
        ({"task": "se", "decoding": '{"semantic": 6}'}, "decoding.semantic is 6"),
        ({"task": "se", "decoding": '{"own_voice": "yes"}'}, "decoding.own_voice is 'yes'; use true or false"),
        ({"decoding": '{"semantic": {"temperature": NaN}}'}, "NaN is no number of JSON"),
        (
            {"decoding": '{"semantic": {"steps": [0]}}'},
            "decoding.semantic: steps is [0]; expected numbers from 1",
        ),
        ({"decoding": '{"first_level": {"steps": 3}}'}, "decoding.first_level.steps is 3; expected a list"),
        ({"decoding": '{"l2s": {"semantic": {"guidance": -1}}}'}, "decoding.l2s.semantic: guidance is -1.0; expected"),
        ({"decoding": "[" * 10_000}, "nested too deeply"),
        ({"task": "se"}, "no component semantic_generator"),
        ({"dtype": "float16"}, "does not fit float16"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(tmp_path, capsys, flags, message):
    codec = write(tmp_path / "one", scale=1e6, acoustic_codec=CODEC)
    assert assemble.main(command(tmp_path, f"acoustic_codec={codec}", **flags)) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "all").exists()
