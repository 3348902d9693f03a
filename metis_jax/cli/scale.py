"""Plan, sweep and fit: what a run would cost on devices that are not here, and how the loss falls with size and data.

    metis-scale plan --config=pretrain --topology=v5e:16x16 [--search] [--hours=300000]
    metis-scale sweep --config=FILE --workdir=DIR --sizes=192x4,256x6,384x8 --budgets=1e14,4e14 [--run]
    metis-scale fit --runs=DIR [--budget=1e20] [--plot=law.png]

`plan` compiles the real training step for the mesh of the config (extra `tpu`; minutes at full size), `sweep` writes
the commands of a grid of sizes and budgets and with --run runs them, both resumable, `fit` needs six runs that ended.
"""

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags

from metis_jax.cli import command, experiment
from metis_jax.cli.launch import run_together

_FEWEST_DRAWS = 10
_STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0; 1 if a run of a sweep failed; that of a signal; or 2 with one line on stderr."""
    given = list(sys.argv[1:] if argv is None else argv)
    if not given or given[0] not in _COMMANDS:
        is_help = bool(given) and given[0] in ("--help", "-h", "--help=true")
        if is_help:
            print(__doc__)
            return 0
        what = f"there is no {given[0]!r}" if given else "nothing was asked for"
        return command.exit_status("scale", lambda: _refuse(f"{what}; use one of {', '.join(_COMMANDS)}, see --help"))
    make_flags, body = _COMMANDS[given[0]]
    return experiment.run(f"scale {given[0]}", __doc__, make_flags(), body, given[1:])


def _refuse(message: str) -> None:
    raise ValueError(message)


def _plan_flags() -> flags.FlagValues:
    values = experiment.new_flags()
    flags.DEFINE_string("topology", None, "CHIP:AxB[xC], or NxCHIP:AxB for N slices.", flag_values=values)
    flags.DEFINE_integer("bucket", 0, "Frames of a batch; by default the largest.", flag_values=values)
    flags.DEFINE_float("hours", 0.0, "Of audio, to say what seeing it once takes.", flag_values=values)
    flags.DEFINE_boolean("search", False, "Compile for other meshes too, and name the best.", flag_values=values)
    return values


def _plan(given: flags.FlagValues) -> None:
    command.require(given, "config", "topology")
    import jax

    from metis_jax.scaling import plan, topologies
    from metis_jax.training.experiment import read_config

    jax.config.update("jax_platforms", "cpu")  # the described devices are not for computing, nor looked for
    config = read_config(given.config.to_dict())
    buckets = config.pipeline().buckets
    bucket = given.bucket or buckets[-1]
    if bucket not in buckets:
        raise ValueError(f"--bucket={bucket}; the experiment's are {', '.join(map(str, buckets))}")
    chip = topologies.CHIPS[topologies.parse(given.topology)[1]]
    devices = topologies.devices_of(given.topology)
    meshes = list(plan.meshes(len(devices))) if given.search else [config.mesh]
    plans = []
    for mesh in meshes:
        print(f"compiling for {given.topology}, {mesh} ...", file=sys.stderr, flush=True)
        try:
            found = plan.make_plan(config, devices, chip, mesh, bucket)
            print(*plan.lines(found, config, given.hours), sep="\n", flush=True)
            plan.check_fits(found, config)
        except ValueError as error:
            if not given.search:
                raise
            print(error, file=sys.stderr)
            continue
        plans.append(found)
    if not plans:
        raise ValueError(f"none of {len(meshes)} meshes fits; lower config.tokens_per_device, or take more devices")
    if given.search:
        best = min(plans, key=lambda found: found.step_seconds / found.compiled.frames)
        print(f"best of {len(plans)}: {best.mesh}, MFU at most {best.mfu:.2f}")


def _sweep_flags() -> flags.FlagValues:
    values = experiment.new_flags()
    flags.DEFINE_string("workdir", None, "Folder of the sweep; each run has one in it.", flag_values=values)
    flags.DEFINE_string("sizes", None, "Generators, as WIDTHxLAYERS,...", flag_values=values)
    flags.DEFINE_list("budgets", [], "Floating-point operations of a run, as 1e14,4e14.", flag_values=values)
    flags.DEFINE_integer("rate_width", 0, "Width whose learning rate the experiment says (0: any).", flag_values=values)
    flags.DEFINE_boolean("run", False, "Run them here, one after the other.", flag_values=values)
    return values


def _sweep(given: flags.FlagValues) -> int:
    command.require(given, "config", "workdir", "sizes", "budgets")
    from metis_jax.scaling import sweep

    budgets = [_positive("budgets", text) for text in given.budgets]
    command.check_range("rate_width", given.rate_width, 0, 100_000)
    runs = sweep.plan_runs(given.config, sweep.parse_sizes(given.sizes), budgets, given.rate_width)
    file = next((flag.removeprefix("--config=") for flag in sys.argv if flag.startswith("--config=")), "")
    if not file:
        raise ValueError("give the experiment as --config=FILE, in one word")
    own = [flag.removeprefix("--config.") for flag in sys.argv if flag.startswith("--config.")]
    workdir = Path(given.workdir)
    commands = sweep.write_sweep(runs, file, workdir, own)
    for run in runs:
        print(f"{run.name}: {run.parameters / 1e6:.2f}M parameters, {run.tokens / 1e6:.2f}M tokens, {run.steps} steps")
    print(commands)
    failed = []
    for place, run in enumerate(runs if given.run else (), start=1):
        print(f"{place} of {len(runs)}: {run.name}, {run.steps} steps", flush=True)
        status = run_together([[sys.executable, *sweep.command_of(run, file, workdir, own)]])
        if status in _STOPPED:
            return status
        failed += [run.name] if status else []
    for name in failed:
        print(f"scale sweep: {name} failed; the same command tries it again", file=sys.stderr)
    return 1 if failed else 0


def _fit_flags() -> flags.FlagValues:
    values = experiment.new_flags()
    flags.DEFINE_string("runs", None, "Folder of a sweep.", flag_values=values)
    flags.DEFINE_list("budget", [], "What is best for these, in floating-point operations.", flag_values=values)
    flags.DEFINE_integer("draws", 200, "Of the bootstrap.", flag_values=values)
    flags.DEFINE_string("plot", None, "Picture of losses and law to write.", flag_values=values)
    return values


def _fit(given: flags.FlagValues) -> None:
    command.require(given, "runs")
    command.check_range("draws", given.draws, _FEWEST_DRAWS, 100_000)
    from metis_jax.scaling import fit

    points, unfinished = fit.read_runs(Path(given.runs))
    if unfinished:
        print(f"scale fit: left out, for they have not ended: {', '.join(unfinished)}", file=sys.stderr)
    law = fit.fit_law(points)
    laws = fit.bootstrap(points, law, given.draws, seed=0)
    print(f"{len(points)} runs: loss = E + A / N^alpha + B / D^beta, with 95% of {given.draws} bootstrap draws")
    for name in ("e", "a", "b", "alpha", "beta"):
        low, high = fit.interval([getattr(one, name) for one in laws])
        is_vague = name in ("alpha", "beta") and not fit.is_identified(low, high)
        warning = "  NOT IDENTIFIED: run more sizes and budgets, farther apart" if is_vague else ""
        label = name.upper() if len(name) == 1 else name
        print(f"  {label:5} {getattr(law, name):10.4g}  [{low:.4g}, {high:.4g}]{warning}")
    for point in points:
        found = law.loss(point.parameters, point.tokens)
        print(f"  {point.name}: loss {point.loss:.4f}, by the law {found:.4f}")
    for text in given.budget:
        flops = _positive("budget", text)
        parameters, tokens = law.best(flops)
        sizes = [one.best(flops)[0] for one in laws]
        low, high = fit.interval(sizes)
        beyond = fit.extrapolated(points, law, flops)
        warning = f"; EXTRAPOLATED: no run had such a {beyond}" if beyond else ""
        print(
            f"{flops:.3g} FLOP: {parameters / 1e6:.3g}M parameters [{low / 1e6:.3g}, {high / 1e6:.3g}], "
            f"{tokens / 1e6:.3g}M tokens, loss {law.loss(parameters, tokens):.4f}{warning}"
        )
    if given.plot:
        from metis_jax.scaling.picture import draw_law

        draw_law(points, law, given.plot)
        print(given.plot)


def _positive(flag: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ValueError(f"--{flag}={text}: expected a positive number, as 1e20")
    return value


_COMMANDS: dict[str, tuple[Callable[[], flags.FlagValues], Callable[[flags.FlagValues], int | None]]] = {
    "plan": (_plan_flags, _plan),
    "sweep": (_sweep_flags, _sweep),
    "fit": (_fit_flags, _fit),
}


if __name__ == "__main__":
    sys.exit(main())
