"""Studies are sound experiments, go on where they stopped, and their report says what was measured."""

import json
import sys

import jax
import numpy as np
import pytest
import soundfile
from mini_chain import COMPONENTS, variables_of

from metis_jax.cli import train
from metis_jax.evaluation.measure import Measure
from metis_jax.weights.bundle_writer import write_bundle
from nano.measure.tasks import TABLES
from nano.studies import __main__ as studies
from nano.studies import report, results, sounds, work
from nano.studies.plan import Arm, Study
from nano.studies.plans import STUDIES
from nano.studies.results import Result
from nano.studies.statistics import Grid, cells, comparisons, estimate, grouped
from nano.studies.work import Given, run_name, steps_of, train_command


@pytest.fixture
def chain(tmp_path):
    """As much of a chain's working folder as plans look at."""
    for place in ("tokens/0", "semantic_codec/bundle", "pretrain/bundle", "bundle"):
        (tmp_path / "chain" / place).mkdir(parents=True)
    return tmp_path / "chain"


@pytest.mark.parametrize("name", STUDIES)
def test_every_training_is_a_sound_experiment(name, tmp_path, chain, capsys):
    study, given = STUDIES[name], Given(study=name, workdir=tmp_path, chain=chain)
    kinds = {(arm.config, arm.learns, *arm.changes): arm for arm in study.arms if arm.config}
    for arm in kinds.values():
        command = train_command(study, arm, 1, given)
        assert train.main([*command[2:], "--show"]) == 0, capsys.readouterr().err
        shown = capsys.readouterr().out.splitlines()
        assert "seed = 1" in shown and f"steps = {study.steps if arm.learns else 1}" in shown


@pytest.mark.parametrize("name", STUDIES)
def test_steps_of_speech_come_after_what_they_need(name, tmp_path, chain):
    study = STUDIES[name]
    steps = steps_of(study, Given(study=name, workdir=tmp_path, chain=chain, measure="speech", sets=tmp_path / "sets"))
    names = [step.name for step in steps]
    assert len(set(names)) == len(names)
    for place, step in enumerate(steps):
        assert set(step.needs) <= set(names[:place])
    # evaluate.py takes several systems, between commas, where a name may have one.
    measured = [flag for step in steps for command in step.commands if "evaluate.py" in command for flag in command]
    assert all("," not in flag for flag in measured if flag.startswith("--outputs="))
    heard = {f"{name}/{run_name(arm, seed)}.speech" for arm, seed in work.runs(study) if arm.sets or arm.tokens}
    heard |= {f"{name}/{work.BESIDE}"} if work.sets_of(study) else set()
    assert {step for step in names if step.endswith(".speech")} == heard


def test_one_run_brings_what_it_begins_from(tmp_path, chain):
    steps = steps_of(STUDIES["omni"], Given(study="omni", workdir=tmp_path, chain=chain, only="vc-omni.2"))
    assert [step.name for step in steps] == ["trainings/omni-all-omni.2", "trainings/omni-vc-omni.2"]
    assert steps[0].makes == tmp_path / steps[0].name / "bundle"
    assert f"--config.initial.semantic_generator={steps[0].makes}" in steps[1].commands[0]


def test_arms_that_share_a_training_train_alike(tmp_path, chain):
    commands = {}
    for name, study in STUDIES.items():
        given = Given(study=name, workdir=tmp_path, chain=chain)
        for arm in study.arms:
            if arm.training:
                commands.setdefault(arm.training, []).append(train_command(study, arm, 0, given))
    assert set(commands) == {f"{task}-alone" for task in ("se", "tse", "vc", "tts")}
    for same in commands.values():
        assert len(same) > 1 and len(set(same)) == 1


STAND_IN = """
import json, pathlib, sys
folder, value, broken = pathlib.Path(sys.argv[1]), float(sys.argv[2]), pathlib.Path(sys.argv[3])
if folder.name == "made-se-new.0" and broken.exists():
    sys.exit("killed")
folder.mkdir()  # fails where a run is done twice
print("semantic_generator: 12 parameters are trained, 30 are not")
lines = [{"step": step, "split": "validation", "loss": value / step} for step in (1, 2)]
(folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\\n" for line in lines))
"""


def test_a_study_goes_on_where_it_was_killed(tmp_path, monkeypatch, capsys):
    study = Study(
        title="Made",
        question="Is it?",
        arms=(Arm(name="old", task="se", config="x"), Arm(name="new", task="se", config="x", against="old")),
        seeds=(0, 1),
    )
    monkeypatch.setitem(STUDIES, "made", study)
    broken, values = tmp_path / "broken", {"se-old.0": 4, "se-new.0": 2, "se-old.1": 8, "se-new.1": 4}
    broken.touch()

    def command(study, arm, seed, given):
        name = run_name(arm, seed)
        folder = given.workdir / work.training_name(given.study, arm, seed)
        return (sys.executable, "-c", STAND_IN, str(folder), str(values[name]), str(broken))

    monkeypatch.setattr(work, "train_command", command)
    line = ["made", f"--workdir={tmp_path}", "--quicktest"]
    assert studies.main(line) == 1
    assert "trainings/made-se-new.0: exit status 1: killed" in capsys.readouterr().err
    first = results.read(tmp_path / "made")
    assert {(row.arm, row.seed) for row in first} == {("old", 0)}
    broken.unlink()
    assert studies.main(line) == 0
    rows = results.read(tmp_path / "made")
    losses = {(row.arm, row.seed): row.value for row in rows if row.measure == "loss" and row.step == 2}
    assert losses == {("old", 0): 2.0, ("new", 0): 1.0, ("old", 1): 4.0, ("new", 1): 2.0}
    assert {row.value for row in rows if row.measure == "trained"} == {12.0}
    assert studies.main([*line, "--steps=9"]) == 2
    assert "was begun with steps 2" in capsys.readouterr().err

    output = tmp_path / "report.md"
    assert studies.main(["report", f"--workdir={tmp_path}", f"--output={output}"]) == 0
    text = output.read_text()
    # Student's interval of two values: 12.706 times half of their difference, either way.
    assert "| old | 3.000 [-9.706, 15.706] | 12 | 2 x 1 |" in text
    assert "| new | 1.500 [-4.853, 7.853] | 12 | 2 x 1 |" in text
    # The differences are -1 and -2: t is 3 with one degree of freedom.
    difference = (
        "| se | new - old | held-out loss, nats | -1.500 [-7.853, 4.853] | 0.205 | not told apart | overlap | 2 |"
    )
    assert report._least_p(28, 16) == "" and "none is below 0.5, whatever" in report._least_p(1, 2)
    assert "| Made | (it does not ask) | held-out loss, nats: *new* not told apart from *old* in se |" in text
    assert difference in text and "Comparisons that p is corrected for: 1.\n" in text
    assert f"`python -m nano.studies made --workdir={tmp_path} --quicktest --measure=loss`" in text
    assert f"Not run: {STUDIES['pretraining'].title}; " in text and (tmp_path / "images/study_made.png").is_file()


def generator_bundle(path, value, **decoding):
    """A bundle of a generator whose every number is `value`."""
    config = COMPONENTS["semantic_generator"]
    with write_bundle(path, license="none", provenance="made") as bundle:
        bundle.decoding = decoding
        bundle.add("semantic_generator", config, jax.tree.map(lambda one: one * 0 + value, variables_of(config)))


def test_a_study_knows_its_chain_wherever_it_lies(tmp_path, monkeypatch, capsys):
    study = Study(title="Made", question="", arms=(Arm(name="a", task="se", config="x"),), seeds=(0,))
    monkeypatch.setitem(STUDIES, "made", study)
    monkeypatch.setattr(work, "train_command", lambda study, arm, seed, given: (sys.executable, "-c", ""))
    for name, value in (("one", 1.0), ("moved", 1.0), ("other", 2.0)):
        for place in ("tokens", "semantic_codec/bundle"):
            (tmp_path / name / place).mkdir(parents=True)
        generator_bundle(tmp_path / name / "pretrain" / "bundle", value)
    for place in ("trainings/made-se-a.0", "made"):
        (tmp_path / "work" / place).mkdir(parents=True)
    (tmp_path / "work/trainings/made-se-a.0/metrics.jsonl").touch()
    line = ["made", f"--workdir={tmp_path / 'work'}"]
    assert [studies.main([*line, f"--chain={tmp_path / name}"]) for name in ("one", "moved", "other")] == [0, 0, 2]
    assert "trainings was begun with pretrained " in capsys.readouterr().err
    about = json.loads((tmp_path / "work/made" / report.ABOUT).read_text())
    assert about["command"].endswith(f"--chain={tmp_path}/moved --measure=loss") and about["steps"] == 400


def test_a_model_is_its_weights_and_how_they_are_decoded(tmp_path):
    for name, value, rate in (("one", 1.0, 0.0), ("moved", 1.0, 0.0), ("warmer", 1.0, 0.9), ("other", 2.0, 0.0)):
        generator_bundle(tmp_path / name, value, se={"temperature": rate})
    one, moved, warmer, other = (
        studies._model(tmp_path / name, ["semantic_generator"]) for name in ("one", "moved", "warmer", "other")
    )
    assert one == moved
    assert {name for name in one if one[name] != warmer[name]} == {"decoding"}
    assert {name for name in one if one[name] != other[name]} == {"semantic_generator"}


def table(systems) -> str:
    """As `evaluate.py` writes one."""

    def value(value, weight):
        return {"wer": {"value": value, "weight": weight, "reason": ""}}

    found = {system: {"files": {file: value(*own) for file, *own in rows}} for system, rows in systems.items()}
    return json.dumps({"systems": found})


def test_speech_is_read_from_tables_and_logs(tmp_path):
    study = Study(
        title="Made",
        question="",
        arms=(
            Arm(name="a", task="se", sets=("se_5",), against="noisy"),
            Arm(name="late", task="vc", sets=("vc",)),
        ),
        seeds=(3, 4),
    )
    for seed, value in ((3, 0.25), (4, 0.75)):
        name = f"made/se-a.{seed}.speech"
        (tmp_path / name / TABLES).mkdir(parents=True)
        (tmp_path / name / TABLES / "se_5.json").write_text(table({"nano": [("x", value, 4)]}))
        log = f"$ infer --task=se --list={tmp_path}/se_5.jsonl --bundle=B\n2 files: 3 s; computing 1 s (RTF 0.{seed})\n"
        (tmp_path / f"{name}.log").write_text(log)
        (tmp_path / f"{name}.done").touch()
    (tmp_path / "made" / work.BESIDE / TABLES).mkdir(parents=True)
    (tmp_path / "made" / work.BESIDE / TABLES / "se_5.json").write_text(table({"noisy": [("x", 1.0, 4)]}))
    # Of a set that nothing has decoded.
    (tmp_path / "made" / work.BESIDE / TABLES / "vc.json").write_text(table({"source": [("x", 1.0, 4)]}))
    (tmp_path / "made" / f"{work.BESIDE}.done").touch()
    found = results.collect("made", study, tmp_path)
    assert found == results.read(tmp_path / "made")
    values = {(row.arm, row.seed, row.measure): row.value for row in found}
    assert values == {
        ("noisy", None, "wer"): 1.0,
        ("a", 3, "wer"): 0.25,
        ("a", 4, "wer"): 0.75,
        ("a", 3, "rtf"): 0.3,
        ("a", 4, "rtf"): 0.4,
    }
    # Recordings have no seeds: what stands beside is compared with all of them.
    assert (
        Grid.of([row for row in found if row.arm == "noisy"]).shared(cells(found)["se_5", "a"]["wer"]).values.size == 1
    )
    assert cells(found)["se_5", "a"]["wer"].shared(cells(found)["se_5", "noisy"]["wer"]).seeds == (3, 4)


def test_sets_keep_the_order_of_the_study(tmp_path):
    study = Study(title="Made", question="", arms=(Arm(name="a", task="se", sets=("se_5", "se_10")),), seeds=(0,))
    place = tmp_path / "made/se-a.0.speech" / TABLES
    place.mkdir(parents=True)
    for name in study.arms[0].sets:
        (place / f"{name}.json").write_text(table({"nano": [("x", 0.5, 4)]}))
    (tmp_path / "made/se-a.0.speech.log").touch()
    (tmp_path / "made/se-a.0.speech.done").touch()
    assert [row.task for row in results.collect("made", study, tmp_path)] == ["se_5", "se_10"]


def test_groups_of_files_are_sets_of_their_own():
    study = Study(
        title="Made", question="", arms=(Arm(name="a", task="se"),), groups={"se_5": {"natives": "f0", "others": "f1"}}
    )
    rows = rows_of("a", np.array([[0.25, 0.75]]))
    found = cells(grouped(study, rows))
    means = {task: estimate(own["wer"]).mean for (task, _), own in found.items()}
    assert means == {"se_5": 0.5, "se_5 of natives": 0.25, "se_5 of others": 0.75}


def test_a_report_names_what_was_not_measured():
    arms = (
        Arm(name="a", task="se", config="x", sets=("se_5", "se_0")),
        Arm(name="b", task="se", config="x"),
        Arm(name="c", task="se", config="x", sets=("se_5",)),
    )
    study = Study(title="Made", question="", arms=arms)
    # Speech of one of two sets; of the other arm nothing.
    about = {"command": "made", "steps": 9, "pretrained": "p", "model": {"acoustic_codec": "c"}}
    text = report.section(study, cells(rows_of("a", np.array([[0.25, 0.75]]))), [], about, "made.png")
    assert "Not measured: se_0, b (se), c (se), speech of the other arms." in text
    assert "9 steps of every training; pre-trained generator p; model: acoustic_codec c." in text
    losses = [Result(study="s", arm=arm.name, seed=0, task="se", measure="loss", value=1.0) for arm in arms]
    text = report.section(study, cells(losses), [], {"command": "made"}, "made.png")
    assert "Not measured" not in text and "steps of every" not in text


def test_every_arm_is_heard_saying_the_same(tmp_path):
    arms = tuple(Arm(name=name, task="se", sets=("se_5", "se_0")) for name in ("a", "b", "late"))
    study = Study(title="Made", question="", arms=arms, seeds=(4, 5), heard=("se_5",))
    for run in ("se-a.4", "se-b.4", "se-late.5"):
        place = tmp_path / "work/made" / f"{run}.speech"
        (place / "se_5").mkdir(parents=True)
        (tmp_path / "work/made" / f"{run}.speech.done").touch()
        for name, seconds in (("short", 1.0), ("long", 3.0), ("right", 2.0 if run == "se-a.4" else 4.0)):
            soundfile.write(place / "se_5" / f"{name}.wav", np.sin(np.arange(seconds * 24_000) / 20) / 2, 24_000)
    sounds.collect("made", study, tmp_path / "work")
    [(task, files)] = sounds.found(study, tmp_path / "work/made")
    assert task == "se_5" and [arm for arm, _ in files] == ["a", "b"]
    assert [round(soundfile.info(file).duration, 1) for _, file in files] == [2.0, 4.0]
    assert {soundfile.info(file).subtype for _, file in files} == {"OPUS"}
    text = report._to_hear(task, files, tmp_path / "docs")
    assert text == (
        "To listen to, one recording of se_5: [a](../work/made/sounds/se_5.se-a.ogg), "
        "[b](../work/made/sounds/se_5.se-b.ogg).\n"
    )


def test_a_finding_says_who_is_better_where():
    arms = (Arm(name="old", task="se_5"), *(Arm(name=name, task="se_5", against="old") for name in ("a", "b", "c")))
    study = Study(title="Made", question="", arms=arms, also=(("b", "a"),))
    first = np.linspace(0.4, 0.6, 12)[None]
    worse, better = first + 0.25, first - 0.25
    rows = [*rows_of("old", first), *rows_of("a", worse), *rows_of("b", better), *rows_of("c", worse)]
    found = cells(rows)
    compared = comparisons(found, study.pairs(), [Measure("wer", "WER %", "lower")])
    said = report.finding(study, found, compared)
    assert said == (
        "WER %: *a*, *c* worse than *old* in se_5; *b* better than *old* in se_5; *a* worse than *b* in se_5"
    )
    with pytest.raises(ValueError, match="also compares d, which is no arm"):
        Study(title="Made", question="", arms=arms, also=(("b", "d"),))
    assert report._names(["*a*"] * 5, 5) == "all 5 others" and report._names(["*a*", "*b*"], 2) == "*a*, *b*"
    assert report.finding(study, found, []).startswith("WER %: of se_5 *a* has the most, 75.0 [")


def rows_of(arm: str, values, weights=None) -> list[Result]:
    """Values by seed and file of a word error rate."""
    weights = np.ones_like(values) if weights is None else weights
    return [
        Result(study="s", arm=arm, seed=seed, task="se_5", measure="wer", file=f"f{file}", value=float(value),
               weight=float(weights[seed][file]))
        for (seed, file), value in np.ndenumerate(values)
    ]  # fmt: skip


def test_means_are_pooled_over_seeds_and_files():
    values, weights = np.array([[0.0, 1.0], [0.5, 0.5]]), np.array([[1.0, 3.0], [2.0, 2.0]])
    grid = Grid.of(rows_of("a", values, weights))
    found = estimate(grid)
    assert found.mean == pytest.approx((0 + 3 + 1 + 1) / 8)
    # Seeds drawn (0,0), (1,1) or both, files likewise: the most is file 1 of seed 0 alone, the least file 0 of it.
    assert (found.low, found.high) == (0.0, 1.0)
    assert {name: (value.value, value.weight) for name, value in grid.units().items()} == {
        "f0": (pytest.approx(1 / 3), 1.5),
        "f1": (pytest.approx(4 / 5), 2.5),
    }
    # Files that one seed lacks are left out.
    assert Grid.of(rows_of("a", values, weights)[:-1]).files == ("f0",)


def test_arms_differ_over_files_that_both_have():
    rng = np.random.default_rng(0)
    first = rng.uniform(0.4, 0.6, (3, 10))
    found = cells([*rows_of("old", first), *rows_of("new", first - 0.25), *rows_of("same", first[:, ::-1])])
    pairs = [("old", "new"), ("old", "same")]
    new, same = comparisons(found, pairs, (Measure("wer", "WER %", "lower"),))
    # The same gap everywhere: whatever is drawn, it is the difference.
    assert new.found.difference.mean == pytest.approx(-0.25)
    assert (new.found.difference.low, new.found.difference.high) == pytest.approx((-0.25, -0.25))
    # Of 2**10 ways to swap two are as large; the smaller of two p is doubled.
    assert new.found.p < 0.02 and new.found.better == 1.0 and new.found.count == 10
    assert same.found.p > 0.9 and same.found.difference.mean == pytest.approx(0.0, abs=1e-12)


def test_what_can_not_be_done_is_said_in_a_line(tmp_path, chain, capsys):
    for folder, names in (("sets", ()), ("few", ("texts", "se_0", "se_5", "se_10"))):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / f"{name}.jsonl").touch()
    work_flag, chain_flag = f"--workdir={tmp_path}", f"--chain={chain}"
    speech = [chain_flag, "--measure=speech"]
    for line, reason in (
        (["tokens", work_flag, chain_flag], "trains nothing; give --measure=speech"),
        (["information", work_flag, *speech], "needs --shards=TOKEN_SHARDS"),
        (["omni", work_flag], "give --chain=DIR"),
        (["omni", work_flag, f"--chain={tmp_path}"], "there is no tokens"),
        (["omni", work_flag, chain_flag, "--only=se"], "runs are all-omni, se-single"),
        (["omni", work_flag, *speech, f"--sets={tmp_path}/sets"], "there is no texts.jsonl"),
        (["robustness", work_flag, *speech, f"--sets={tmp_path}/few"], "there is no se_-5.jsonl"),
        (["report", work_flag], "no study has results there"),
    ):
        assert studies.main(line) == 2
        assert reason in capsys.readouterr().err


@pytest.mark.slow
def test_a_quick_test_trains_and_reports(tmp_path):
    assert studies.main(["zero_shot", f"--workdir={tmp_path / 'work'}", "--quicktest", "--only=se-adapted.0"]) == 0
    rows = results.read(tmp_path / "work" / "zero_shot")
    assert {(row.arm, row.measure, row.step) for row in rows} == {("adapted", "loss", 2), ("adapted", "trained", 0)}
    assert all(row.value > 0 for row in rows)
    assert report.write(STUDIES, tmp_path / "work", tmp_path / "report.md", "made") == ["zero_shot"]
