"""One bundle from components of several: the end of a chain of training runs.

    metis-assemble --output=BUNDLE --dtype=float16 --task=se,vc \\
        --component=semantic_generator=RUN_1 --component=acoustic_generator_first=RUN_2:acoustic_generator ...

A generator that was fine-tuned with LoRA comes in two components, the base and its adapter: `--task=se=se_adapter
--component=semantic_generator=RUN --component=se_adapter=RUN`.

Licence, provenance and decoding settings are those of the sources unless they are given.  Parameters are stored in
`dtype`; everything else (statistics, the codec's window) stays float32.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags

from metis_jax.cli import command
from metis_jax.files.inputs import parse_json
from metis_jax.inference.settings import Settings
from metis_jax.inference.windows import WindowPlan
from metis_jax.tasks import TASKS
from metis_jax.weights import lineage
from metis_jax.weights.bundle import Bundle, TaskAdapterConfig, check_name
from metis_jax.weights.bundle_writer import BundleWriter, write_bundle
from metis_jax.weights.tensor_files import TensorSpec

DTYPES = ("float32", "float16")
GENERATOR = "semantic_generator"


def _add(writer: BundleWriter, name: str, bundle: Bundle, there: str, dtype: str) -> None:
    """Adds a component tensor by tensor, also those that no model reads, its parameters in `dtype`."""
    file = bundle.file(there)

    def kept_in(path: str) -> np.dtype:
        return np.dtype(dtype) if path.startswith("params/") else file.specs[path].dtype

    def tensors() -> Iterator[tuple[str, np.ndarray]]:
        for path in file.specs:
            with np.errstate(over="ignore"):
                array = file.read(path).astype(kept_in(path), copy=False)
            if not np.isfinite(array).all():
                raise ValueError(f"{file.path}: tensor {path!r} does not fit {array.dtype}; use --dtype=float32")
            yield path, array

    specs = {path: TensorSpec(spec.shape, kept_in(path)) for path, spec in file.specs.items()}
    encoders = bundle.encoders.get(there, {})
    writer.stream(name, bundle.components[there], specs, tensors(), encoders=encoders)


def assemble(
    output: str,
    components: dict[str, str],
    *,
    tasks: Mapping[str, str | None],
    dtype: str,
    license: str = "",
    provenance: str = "",
    decoding: dict[str, Any] | None = None,
) -> None:
    """Writes `components`, {name: "BUNDLE" or "BUNDLE:name there"}.

    `tasks`, {task: its adapter's component, if it has one}, are served by the semantic generator.  `decoding` changes
    released settings, as `Settings.of` takes them.  Licence, provenance and `decoding` are the sources' where they are
    not given: of windows the shortest; sources that want other settings than each other are refused.
    """
    parts = {name: place.partition(":") for name, place in components.items()}
    places = {name: (path, there or name) for name, (path, _, there) in parts.items()}
    sources = [Bundle(path) for path in dict.fromkeys(path for path, _ in places.values())]
    decoding = _common_decoding(sources) if decoding is None else decoding
    for task in (*tasks, *TASKS):
        Settings.of(task, preferred=decoding)
    WindowPlan.of(decoding)
    configs = {name: _config(path, there) for name, (path, there) in places.items()}
    _check_tasks(tasks, configs)
    about = {
        "license": license or lineage.statements(source.license for source in sources),
        "provenance": provenance or lineage.statements(source.provenance for source in sources),
    }
    with write_bundle(output, **about) as writer:
        # An adapter is checked against its base.
        for name in sorted(places, key=lambda name: isinstance(configs[name], TaskAdapterConfig)):
            path, there = places[name]
            _add(writer, name, Bundle(path), there, dtype)
        for task, adapter in tasks.items():
            writer.task(task, GENERATOR, adapter)
        writer.decoding = decoding


def _common_decoding(sources: Sequence[Bundle]) -> dict[str, Any]:
    """The decoding settings of the sources that have any, and the shortest of their windows."""
    settings = {source: {key: x for key, x in source.decoding.items() if key != "window"} for source in sources}
    having = [source for source in sources if settings[source]]
    for source in having[1:]:
        if settings[source] != settings[having[0]]:
            raise ValueError(f"{having[0].path} and {source.path} want different decoding; give it as --decoding")
    wishes = [source.decoding["window"] for source in sources if "window" in source.decoding]
    window = min(wishes, key=lambda wish: WindowPlan.of({"window": wish}).frames, default=None)
    return (settings[having[0]] if having else {}) | ({} if window is None else {"window": window})


def _config(path: str, name: str) -> Any:
    """What a bundle says of a component that it holds."""
    bundle = Bundle(path)
    bundle.file(name)
    return bundle.components[name]


def _check_tasks(tasks: Mapping[str, str | None], configs: Mapping[str, Any]) -> None:
    """ValueError for a task that the components can not serve."""
    if tasks and GENERATOR not in configs:
        raise ValueError(f"tasks were given, but no component {GENERATOR} to serve them")
    for task, adapter in tasks.items():
        if adapter and not isinstance(configs.get(adapter), TaskAdapterConfig):
            raise ValueError(f"task {task} names the adapter {adapter!r}; give it as --component={adapter}=BUNDLE")
        config = configs[adapter].adapted(configs[GENERATOR]) if adapter else configs[GENERATOR]
        can_serve = config.phone_vocabulary > 0 if task == "tts" else config.condition != "none"
        if not can_serve:
            raise ValueError(
                f"task {task}: the generator has no {'phones' if task == 'tts' else 'condition'}; give one that was "
                f"trained for it, or its adapter as --component=ADAPTER=BUNDLE --task={task}=ADAPTER"
            )


def _flags() -> flags.FlagValues:
    values = command.new_flags()
    flags.DEFINE_string("output", None, "The bundle to write; must not exist.", flag_values=values)
    flags.DEFINE_multi_string(
        "component", [], "NAME=BUNDLE or NAME=BUNDLE:NAME_THERE; once for each.", flag_values=values
    )
    flags.DEFINE_list("task", [], "What the generator serves: some of TASK and TASK=ADAPTER.", flag_values=values)
    flags.DEFINE_enum("dtype", "float32", DTYPES, "Of the stored parameters.", flag_values=values)
    flags.DEFINE_string(
        "decoding",
        None,
        'Settings of stages, as {"first_level": {"temperature": 0.5}}; by default the sources\'.',
        flag_values=values,
    )
    flags.DEFINE_string("license", "", "Of the weights; by default what the sources say.", flag_values=values)
    flags.DEFINE_string(
        "provenance", "", "Where the weights come from, one line; by default the same.", flag_values=values
    )
    return values


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0, or 2 with one line on stderr."""
    return command.run("assemble", __doc__, _flags(), _run, argv)


def _run(given: flags.FlagValues) -> None:
    command.require(given, "output", "component")
    pairs = [component.partition("=") for component in given.component]
    for name, _, place in pairs:
        if not name or not place:
            raise ValueError(f"--component is {name!r}; expected NAME=BUNDLE")
        check_name(name)
        if [other for other, _, _ in pairs].count(name) > 1:
            raise ValueError(f"--component={name}=… is given twice")
    wanted = [text.partition("=") for text in given.task if text]
    decoding = None if given.decoding is None else parse_json(given.decoding, "--decoding")
    assemble(
        given.output,
        {name: place for name, _, place in pairs},
        tasks={task: adapter or None for task, _, adapter in wanted},
        dtype=given.dtype,
        license=given.license,
        provenance=given.provenance,
        decoding=decoding,
    )
    print(given.output)


if __name__ == "__main__":
    sys.exit(main())
