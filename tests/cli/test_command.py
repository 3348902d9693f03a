"""What commands have in common: flags and nothing else, help, one line for whatever the user can mend."""

import io
import os
import signal
import time

import pytest
from absl import flags

import metis_jax
from metis_jax.cli import assemble, build_tfds, command, convert, evaluate, extract_tokens, infer, prepare, train


def run(argv, body=lambda given: None, **options):
    values = command.new_flags()
    flags.DEFINE_integer("size", 1, "How large.", flag_values=values)
    return command.run("name", "About.", values, body, argv, **options)


def failing(error):
    def body(given):
        raise error

    return body


COMMANDS = {
    "assemble": assemble.main,
    "convert": convert.main,
    "evaluate": evaluate.main,
    "extract_tokens": extract_tokens.main,
    "infer": infer.main,
    "prepare": prepare.main,
    "train": train.main,
    "build_tfds": lambda argv: build_tfds.main(["vctk", *argv]),
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("argv", "said"),
    [([], "give --"), (["--inptu=x"], "Unknown command line flag"), (["x"], "unexpected argument 'x'")],
)
def test_every_command_says_what_is_missing_or_wrong_in_one_line(capsys, name, argv, said):
    assert COMMANDS[name](argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"{name}: {said}")


@pytest.mark.parametrize("argv", [[], ["emilai"]])
def test_a_corpus_that_no_builder_knows_is_named(capsys, argv):
    assert build_tfds.main(argv) == 2
    assert "give one of emilia, libritts, noise, vctk" in capsys.readouterr().err


def test_the_version_is_that_of_the_package(capsys):
    assert run(["--version"], failing(RuntimeError())) == 0
    assert capsys.readouterr().out == f"metis_jax {metis_jax.__version__}\n"


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_the_flags_and_runs_nothing(capsys, flag):
    assert run([flag], failing(RuntimeError())) == 0
    out = capsys.readouterr().out
    assert out.startswith("About.") and "--size: How large." in out and "--[no]help" in out


def test_the_body_gets_the_flags_and_gives_the_status():
    assert run(["--size=3"], lambda given: given.size) == 3
    assert run([]) == 0


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("two\n  lines"), "name: two lines"),
        (FileNotFoundError(2, "No such file", "there.txt"), "name: there.txt: No such file"),
        (OSError("no route"), "name: no route"),
        (KeyError("not quoted"), "name: not quoted"),
        (ValueError("a" * 10**6 + ".wav: no such file"), f"name: {'a' * 400} … {'a' * 182}.wav: no such file"),
    ],
)
def test_refusals_are_one_line_and_exit_2(capsys, error, line):
    assert run([], failing(error), refusals=(KeyError,)) == 2
    assert capsys.readouterr().err.splitlines() == [line]


def test_words_and_unknown_flags_are_refused(capsys):
    assert run(["word"]) == 2 and run(["--sise=3"]) == 2
    word, flag = capsys.readouterr().err.splitlines()
    assert "unexpected argument 'word'" in word and "'sise'" in flag


def test_a_console_of_another_encoding_takes_what_is_printed(monkeypatch):
    for encoding in ("ascii", "cp1252", "utf-8"):
        console = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr("sys.stdout", console)
        assert run([], lambda given: print("語\udce9.wav")) == 0
        console.flush()
        assert console.buffer.getvalue().decode(encoding).endswith("\\udce9.wav\n")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_one_line_and_its_status(capsys, number, status):
    before = signal.getsignal(number)
    ended = []

    def body(given):
        try:
            os.kill(os.getpid(), number)
            time.sleep(60)
        finally:
            ended.append(True)

    assert run([], body) == status and ended
    assert capsys.readouterr().err.splitlines() == [f"name: stopped by {number.name}"]
    assert signal.getsignal(number) == before


def test_a_signal_that_a_callback_swallows_comes_again(capsys, monkeypatch):
    monkeypatch.setattr(command, "_AGAIN_SECONDS", 1)

    def body(given):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(60)
        except BaseException:
            pass
        time.sleep(60)

    assert run([], body) == 130
    assert capsys.readouterr().err.splitlines() == ["name: stopped by SIGINT"]


def test_our_own_mistakes_are_not_hidden(monkeypatch):
    with pytest.raises(KeyError):
        run([], failing(KeyError("bug")))
    monkeypatch.setenv("METIS_TRACEBACK", "1")
    with pytest.raises(ValueError, match="seen"):
        run([], failing(ValueError("seen")))
