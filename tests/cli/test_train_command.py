"""The command: every experiment reads, errors are one line and exit code 2, a quick test trains and exports."""

import importlib
import json
import math
import pathlib
import shlex
import sys

import pytest

from metis_jax.cli.train import main
from metis_jax.files.outputs import lock
from metis_jax.training.experiment import complete, read_config
from metis_jax.training.trainers.registry import make_trainer
from metis_jax.weights.bundle import Bundle

ROOT = pathlib.Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "configs").glob("*.py") if path.stem not in ("__init__", "common"))
# Every kind of trainer and of task, once.
TRAINED = ("ssl_encoder", "semantic_codec", "acoustic_codec", "s2a_full", "finetune_tts", "finetune_l2s")
# One discriminator of each kind: to compile all eight takes longer than the other experiments together.
KINDS = {"periods": (2,), "window_lengths": (512,)}
FEW_DISCRIMINATORS = tuple(f"--config.model.discriminators.{kind}={sizes}" for kind, sizes in KINDS.items())

pytestmark = pytest.mark.usefixtures("one_device", "shared_programs")


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_reads_at_every_size(name):
    get_config = importlib.import_module(f"configs.{name}").get_config
    words = [None, "tiny", "quicktest"]
    if name.startswith("finetune"):
        words += ["lora", "lora,quicktest", "full"]
    if name == "finetune_tse":
        words += ["text", "text,lora,quicktest"]
    if name == "finetune_l2s":
        words += ["crops", "crops,lora,quicktest", "end_to_end,tiny"]
    for arg in words:
        section = get_config(arg).to_dict()
        assert complete(section) == section  # every field of the run is there, and can be overridden
        config = read_config(section)
        assert config.pipeline(8).rows[-1] == 8 * config.tokens_per_device // config.pipeline().buckets[-1]
        assert set(config.optimizers) <= set(make_trainer(config.stage, config.model).models())


@pytest.fixture
def outside(monkeypatch, tmp_path):
    """A folder that is no clone, in a process that has seen none."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "configs"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(
        sys, "path", [place for place in sys.path if not pathlib.Path(place).resolve().is_relative_to(ROOT)]
    )
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "configs"]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["pretrain:quicktest", "finetune_se:lora", "configs/pretrain.py:quicktest"])
def test_the_package_has_the_experiments_of_a_clone(outside, capsys, name):
    assert main([f"--config={name}", "--config.steps=7", "--show"]) == 0
    assert "steps = 7" in capsys.readouterr().out.splitlines()


def test_an_experiment_of_ones_own_can_begin_with_one_of_the_package(outside, capsys):
    (outside / "mine.py").write_text("from configs.pretrain import get_config\n")
    assert main(["--config=mine.py:quicktest", "--show"]) == 0
    assert "stage = semantic_generator" in capsys.readouterr().out
    assert main(["--config=yours", "--show"]) == 2
    assert "there is no file yours, and the package has only acoustic_codec, duration_" in capsys.readouterr().err


def test_a_wheel_has_the_experiments():
    """As setuptools, which follows links, finds them."""
    link = ROOT / "metis_jax" / "configs"
    assert link.is_symlink() and link.resolve() == ROOT / "configs" and (link / "pretrain.py").exists()


def test_an_unknown_word_is_refused():
    with pytest.raises(ValueError, match="'tini' is unknown; use samples, tiny, quicktest"):
        importlib.import_module("configs.pretrain").get_config("tini")


def call(capsys, tmp_path, *flags: str) -> str:
    code = main(["--config=configs/pretrain.py:quicktest", f"--workdir={tmp_path}", *flags])
    assert code == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("train: ")
    return error


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--config.sed=3", "--config.sed: this experiment has no key 'sed'; did you mean 'seed'?"),
        ("--config.model.generator.widht=3", "widht: this experiment has no key 'widht'; did you mean 'width'?"),
        ("--config.initial.visual_encoder=B", "--config.initial.visual_encoder: this experiment has no key"),
        ("--config.steps=0", "config.steps is 0"),
        ("--config.mesh.data=3", "(3, 1, 1) does not divide"),
        ("--config.tokens_per_device=0", "config.tokens_per_device is 0"),
        ("--config.stage=vocoder", "config.stage is 'vocoder'"),
        ("--config.data.stage=nothing", "stage is 'nothing'"),
        ("--config.data.stage=stage2", "config.data.stage is 'stage2'; this semantic_generator is trained on pretrain"),
        ("--config.data.seed=3", "--config.data.seed: not set by hand, it is config.seed"),
        ("--config.data.rows=3", "--config.data.rows: not set by hand, it follows from config.tokens_per_device"),
        ("--config.model.lora.rank=3", "--config.model.lora.rank: this experiment has no lora (it is None)"),
        ("--config.data.parts[1].weight=3", "--config.data.parts[1].weight: this experiment has not so many"),
        ("--nonsense=1", "nonsense"),
    ],
)
def test_bad_input_is_one_line(capsys, tmp_path, flag, message):
    assert message in call(capsys, tmp_path, flag)


def shown(capsys, name: str, *flags: str) -> list[str]:
    assert main([f"--config=configs/{name}", *flags, "--show"]) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    "line",
    [
        "model.prompt_probability = 0.7",
        "model.prompt_share = 0.3",
        "model.minimum_rate = 0.1",
        "model.encoder_policy.attention = xla",
        "data.workers = 2",
        "data.threads = 1",
        "data.recipe.min_frames = 100",
        "data.example.max_phones = 64",
        "data.bad_records.share = 0.5",
        """data.parts[0].select.languages = '("en", "de")'""",
        "data.noise.held_out_share = 0.5",
        "optimizers.semantic_generator.b1 = 0.8",
        "initial.semantic_generator = BUNDLE:semantic_generator_base",
        "tasks = '(\"tts\",)'",
    ],
)
def test_every_value_can_be_overridden(capsys, line):
    key, value = line.split(" = ")
    assert line in shown(capsys, "pretrain.py", f"--config.{key}={shlex.split(value)[0]}")


@pytest.mark.parametrize("name", ["finetune_omni.py:lora", "acoustic_codec.py:quicktest"])
def test_what_is_shown_can_be_given_back(capsys, monkeypatch, name):
    monkeypatch.setattr("jax._src.xla_bridge.backends", None)  # no device is asked for
    lines = shown(capsys, name)
    flags = [
        f"--config.{key}={shlex.split(value)[0]}"
        for key, value in (line.split(" = ") for line in lines if line[0] != "#")
    ]
    assert ("# model.visual_encoder: none" in lines) == name.startswith("finetune")
    assert len(flags) > 100 and shown(capsys, name, *flags) == lines


OUT_OF_RANGE = {
    "seed": [-1, 2**70, True, 0.5],
    "steps": [10**30, 2.5],
    "tokens_per_device": [10**12],
    "accumulate": [0, 10**9],
    "ema_decay": [1.0, -0.1, math.nan],
    "log_every": [0],
    "eval_every": [-1],
    "eval_batches": [0],
    "sample_every": [-1],
    "checkpoint_every": [0],
    "keep_period": [-1],
    "synthetic": [-1, 10**9],
    "tasks": [("dance",), "se"],
    "mesh.data": [0, -2],
    "initial": [{"semantic_generator": 5}],
    "skip_initial": [5],
    "data.buckets": [(), (0,), (-5,), (200, 100), (100, 100), (10**30,), (1.5,), 100],
    "data.block_batches": [0],
    "data.threads": [-1],
    "data.prefetch": [-1],
    "data.workers": [-1],
    "data.cached_seconds": [math.nan, -1.0],
    "data.shards": [5, (5,)],
    "data.parts": [(), ("se",), ({"weight": 0},), ({"weight": math.inf},), ({"wait": 1},)],
    "data.recipe": [{"min_frames": 0}, {"prompt_frames": (3,)}, 5],
    "data.example": [{"degrade_wave": 2}, {"gain_db": (math.nan, 0)}, {"gain_db": (0, 1e300)}],
    "data.bad_records": [{"share": math.nan}, {"count": -1}],
    "optimizers.semantic_generator.learning_rate": [-1.0, math.inf, math.nan, "fast"],
    "optimizers.semantic_generator.b1": [1.0, -0.1],
    "optimizers.semantic_generator.epsilon": [0.0],
    "optimizers.semantic_generator.weight_decay": [-1.0],
    "optimizers.semantic_generator.clip_norm": [-1.0],
    "optimizers.semantic_generator.warmup_steps": [-1],
    "optimizers.semantic_generator.trainable": [(("(", True),), ("x",), (("x", 1),), 5],
}


@pytest.mark.parametrize("key", OUT_OF_RANGE)
def test_values_that_no_run_can_have_are_refused_by_name(key):
    get_config = importlib.import_module("configs.pretrain").get_config
    *folders, name = key.split(".")
    for value in OUT_OF_RANGE[key]:
        section = config = get_config("quicktest").to_dict()
        for folder in folders:
            section = section[folder]
        section[name] = value
        with pytest.raises(ValueError, match=r"^config\.") as caught:
            read_config(config)
        assert name in str(caught.value) and len(str(caught.value)) < 250


def test_two_trainings_share_no_folder(capsys, tmp_path):
    with lock(tmp_path / ".lock", "taken"):
        error = call(capsys, tmp_path)
        assert error.endswith(": another training runs in this folder; wait for its end, or use another --workdir")
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    assert not list(tmp_path.iterdir())


def test_missing_shards_and_bundles_are_named(capsys, tmp_path):
    assert "nowhere" in call(capsys, tmp_path, "--config.synthetic=0", '--config.data.shards=("nowhere",)')
    code = main(["--config=configs/finetune_se.py:tiny", f"--workdir={tmp_path}", "--config.synthetic=24"])
    assert code == 2 and "config.initial.semantic_codec is empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("configs/pretrain.py:quick", "config argument 'quick' is unknown; use samples, tiny, quicktest"),
        ("configs/nowhere.py:tiny", "there is no file configs/nowhere.py"),
        ("configs/common.py", "no experiment, it has no get_config"),
    ],
)
def test_an_experiment_file_that_fails_is_one_short_line(capsys, tmp_path, monkeypatch, file, message):
    monkeypatch.delitem(sys.modules, "config_config", raising=False)  # or it would keep what files before it defined
    assert main([f"--config={file}", f"--workdir={tmp_path}"]) == 2
    assert capsys.readouterr().err == f"train: --config={file}: {message}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def get_config(arg=None):\n    return 1 / 0", " line 2: ZeroDivisionError: division by zero"),
        ("def get_config(arg=None) return 1", " line 1: SyntaxError: expected ':' (own.py, line 1)"),
        ("import nothing_here", " line 1: ModuleNotFoundError: No module named 'nothing_here'"),
        ("import sys\nsys.exit(7)", " line 2: SystemExit: 7"),
        (
            "def get_config(arg=None):\n    return get_config()",
            " line 2: RecursionError: maximum recursion depth exceeded",
        ),
        ("def get_config(arg=None):\n    return {'steps': 1}", " get_config gives a dict; expected a ConfigDict"),
        ("def get_config(arg=None):\n    pass", " get_config gives a NoneType; expected a ConfigDict"),
    ],
)
def test_an_experiment_of_ones_own_that_fails_says_where(capsys, tmp_path, monkeypatch, text, message):
    monkeypatch.delitem(sys.modules, "config_config", raising=False)
    own = tmp_path / "own.py"
    own.write_text(text)
    assert main([f"--config={own}", f"--workdir={tmp_path / 'run'}"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"train: --config={own}:{message}"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--coordinator=localhost:1"], "give --coordinator, --processes and --process together"),
        (["--process=1", "--processes=2"], "give --coordinator, --processes and --process together"),
        (
            ["--coordinator=localhost:1", "--processes=2", "--process=2"],
            "--process=2 of --processes=2; they are counted",
        ),
        (["--export=gs://bucket/x"], "gs://bucket/x: only folders of this machine are read and written"),
        (["--config.synthetic=0", '--config.data.shards=("gs://bucket/shards",)'], "gs://bucket/shards: only folders"),
        (["--config.resume=gs://bucket/run"], "gs://bucket/run: only folders of this machine"),
    ],
)
def test_ways_to_meet_and_places_out_of_reach_are_refused(capsys, tmp_path, flags, message):
    assert message in call(capsys, tmp_path, *flags)


def test_a_bucket_is_no_working_folder(capsys):
    assert main(["--config=configs/pretrain.py:quicktest", "--workdir=gs://bucket/run"]) == 2
    assert "train: gs://bucket/run: only folders of this machine" in capsys.readouterr().err


def test_nothing_given(capsys):
    assert main([]) == 2
    assert "give --config=FILE and --workdir=DIR" in capsys.readouterr().err


def run(name: str, workdir: pathlib.Path, *flags: str) -> None:
    assert main([f"--config=configs/{name}", f"--workdir={workdir}", *flags]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_a_shrunk_experiment_trains_and_exports(name, tmp_path):
    flags = ("--config.steps=2", "--config.log_every=1", "--config.eval_every=2", "--config.sample_every=2")
    if name == "acoustic_codec":
        flags += FEW_DISCRIMINATORS
    run(f"{name}.py:quicktest", tmp_path / "run", *flags)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 2]
    run(f"{name}.py:quicktest", tmp_path / "run", *flags, f"--export={tmp_path / 'bundle'}")
    bundle = Bundle(tmp_path / "bundle")
    for component in bundle.components:
        bundle.load(component)


@pytest.mark.slow
def test_a_folder_of_another_experiment_is_refused_and_stays(tmp_path, capsys):
    run("ssl_encoder.py:quicktest", tmp_path, "--config.steps=1")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    capsys.readouterr()
    error = call(capsys, tmp_path)
    saved, own = "config.stage = 'ssl_encoder'", "'semantic_generator'"
    remedy = "use the old value or another --workdir"
    assert error == f"train: checkpoint 1 was written with {saved}, this run has {own}; {remedy}"
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_one_stage_starts_from_the_bundle_of_another(tmp_path):
    """SSL encoder, then the semantic codec on it: the frozen weights are those of the bundle."""
    run("ssl_encoder.py:quicktest", tmp_path / "ssl", "--config.steps=1")
    run("ssl_encoder.py:quicktest", tmp_path / "ssl", "--config.steps=1", f"--export={tmp_path / 'bundle'}")
    _, variables = Bundle(tmp_path / "bundle").load("ssl_encoder")
    assert (variables["statistics"]["variance"] != 1).any()
    flags = ("--config.steps=1", "--config.synthetic=16", f"--config.initial.ssl_encoder={tmp_path / 'bundle'}")
    run("semantic_codec.py:tiny", tmp_path / "codec", *flags)
