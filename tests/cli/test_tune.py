"""What `metis-tune` gives to the commands that it runs, and what it refuses before any of them.

That a bundle comes out which speaks is tried in test_fine_tuning.
"""

import subprocess
import sys

import pytest
from commands import users_environment
from mini_chain import write_mini_bundle

from metis_jax.cli import tune


@pytest.fixture
def lines(monkeypatch):
    """The command lines that are run, without the interpreter; nothing is run."""
    run = []
    monkeypatch.setattr(tune, "run_together", lambda commands: run.extend(command[2:] for command in commands) and 0)
    return run


@pytest.fixture
def base(tmp_path):
    return write_mini_bundle(tmp_path / "base", tasks=("se", "vc"))


def _tune(*words):
    return tune.main([str(word) for word in words])


def test_recordings_and_noise_are_prepared_then_trained_on_and_exported(lines, base, tmp_path):
    assert _tune("se", "MINE", "-o", tmp_path / "tuned", f"--base={base}", "--noise=NOISES", "--steps=200") == 0
    speech, noise, training, export = lines
    shards = tmp_path / "tuned.run" / "shards"
    assert speech == ["metis_jax.cli.prepare", "--input=MINE", f"--output={shards}"]
    assert noise[1] == "--input=NOISES" and noise[-1] == "--layout=noise"
    assert training[1] == "--config=finetune_se:lora" and f"--config.base={base}" in training
    assert f'--config.data.shards=("{shards}","{tmp_path / "tuned.run" / "noise"}",)' in training
    assert "--config.steps=200" in training and "--config.optimizers.semantic_generator.warmup_steps=20" in training
    assert export == [*training, f"--export={tmp_path / 'tuned'}", f"--onto={base}"]


def test_text_to_speech_learns_from_tokens_of_the_base(lines, base, tmp_path):
    assert _tune("tts", "MINE", "-o", tmp_path / "tuned", f"--base={base}", "--full", f"--workdir={tmp_path}") == 0
    _, tokens, training, _ = lines
    assert tokens[0] == "metis_jax.cli.extract_tokens" and f"--bundle={base}" in tokens
    assert (
        f"--output={tmp_path / 'tokens'}" in tokens and f'--config.data.shards=("{tmp_path / "tokens"}",)' in training
    )
    assert training[1] == "--config=finetune_tts:full"


def test_a_narrower_base_learns_faster_unless_told(lines, base, tmp_path):
    rate = "--config.optimizers.semantic_generator.learning_rate="
    assert _tune("vc", "MINE", "-o", tmp_path / "a", f"--base={base}") == 0
    [own] = [float(word.removeprefix(rate)) for word in lines[1] if word.startswith(rate)]
    width = tune.Bundle(base).components["semantic_generator"].width
    assert own == pytest.approx(1e-4 * 1536 / width, rel=1e-2)
    told = ["--learning_rate=3e-4", "--set=log_every=7", "--set=data.buckets=(90,)"]
    assert _tune("vc", "MINE", "-o", tmp_path / "b", f"--base={base}", *told) == 0
    training = lines[-2]
    assert (
        f"{rate}0.0003" in training and "--config.log_every=7" in training and "--config.data.buckets=(90,)" in training
    )


def test_what_a_command_ends_with_ends_all(base, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(tune, "run_together", lambda commands: asked.append(commands) or 143 * (len(asked) == 2))
    assert _tune("se", "MINE", "-o", tmp_path / "tuned", f"--base={base}") == 143 and len(asked) == 2


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("se",), "give a task and a folder"),
        (("sing", "MINE", "-o", "x"), "task is 'sing'"),
        (("se", "MINE"), "--output"),
        (("se", "MINE", "-o", "x", "--steps=0"), "steps"),
        (("vc", "MINE", "-o", "x", "--noise=N"), "--noise is for se and tse"),
        (("se", "MINE", "-o", "x", "--set=steps"), "--set=steps: expected KEY=VALUE"),
        (("se", "MINE", "-o", "."), ". is there already"),
        (("se", "MINE", "-o", "x", "--base=nowhere"), "nowhere"),
    ],
)
def test_what_can_not_be_tuned_is_refused_before_anything_is_run(words, reason, lines, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert _tune(*words) == 2 and not lines
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("tune: ") and reason in line


def test_without_the_extra_it_is_named_before_anything_is_run(tmp_path):
    """As a default installation is, which lacks what the commands import that this one runs."""
    code = "import sys; sys.modules['array_record'] = None; from metis_jax.cli.doors import tune; sys.exit(tune())"
    line = [sys.executable, "-c", code, "se", "MINE", "-o", "tuned", "--learning_rate=1e-4"]
    done = subprocess.run(line, cwd=tmp_path, env=users_environment(), capture_output=True, text=True)
    assert done.returncode == 2 and not done.stdout and not list(tmp_path.iterdir())
    [said] = done.stderr.splitlines()
    assert said.startswith("tune: array_record") and said.endswith("pip install 'metis_jax[train]'")
