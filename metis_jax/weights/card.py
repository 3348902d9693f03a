"""What the models of a bundle are, in words, from its own `config.json`: a paragraph, and the card of a hub's page."""

import math

from metis_jax.tasks import TASKS
from metis_jax.weights.bundle import Bundle, TaskAdapterConfig, kind_of, stored_shapes
from metis_jax.weights.lineage import NOT_STATED

_SMALL = 200_000_000  # parameters; those of the published chain are ten times as many

GENERATED = (
    "What comes out is generated: it can say other words than the source, most of all where that is hard to "
    "understand, so it is no evidence of what was said. Use the voice of a person only if they agree."
)
_FEW = "Models this small lose words and voices; they show how the system works."


def parameters(bundle: Bundle) -> dict[str, int]:
    """{component: how many numbers its file holds}, by its configuration; reads no weights."""
    counts = {}
    for name, config in bundle.components.items():
        base = bundle.components.get(config.base) if isinstance(config, TaskAdapterConfig) else None
        counts[name] = sum(map(math.prod, stored_shapes(config, base).values()))
    return counts


def rounded(count: int) -> str:
    """A count of parameters as people say it: 740 M, 1.9 B."""
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= size:
            return f"{count / size:.3g} {letter}"
    return str(count)


def described(bundle: Bundle) -> str:
    """One paragraph: what the models do and do not, how large they are, whose they are, and what they are not for."""
    able = [task.title for name, task in TASKS.items() if name in bundle.tasks]
    unable = [task.title for name, task in TASKS.items() if name not in bundle.tasks]
    total = sum(parameters(bundle).values())
    not_for = f"; not for {' or '.join(unable)}" if unable else ""
    sentences = [
        f"{rounded(total)} parameters, for {', '.join(able) or 'no task'}{not_for}.",
        f"Licence: {bundle.license or NOT_STATED}.",
        f"Made by: {bundle.provenance or NOT_STATED}.",
        *([_FEW] if total < _SMALL else []),
        GENERATED,
    ]
    return " ".join(sentences)


# Names that the hub knows for what a licence line of ours begins with.
_LICENCES = {"Apache-2.0": "apache-2.0", "MIT": "mit", "CC BY-NC 4.0": "cc-by-nc-4.0", "CC BY 4.0": "cc-by-4.0"}

_CARD = """---
license: {license}
library_name: metis_jax
pipeline_tag: {pipeline}
tags:
- metis
- jax
- speech
---

# {title}

A bundle of [Metis](https://arxiv.org/abs/2502.03128) models for metis_jax.

{about}

```python
from metis_jax import Metis

metis = Metis.from_pretrained("hub:{name}")
```

| component | kind | parameters |
| --- | --- | --- |
{components}

| task | |
| --- | --- |
{tasks}
{figures}
## Licence

{licence_line}

## Provenance

{provenance}
"""


def model_card(bundle: Bundle, name: str, figures: str = "") -> str:
    """The README.md of a repository OWNER/NAME on the hub.

    Args:
      bundle: what it holds.
      figures: Markdown that says how good it is; by default the text `figures` of the bundle's `config.json`.
    """
    figures = figures.strip() or str(bundle.info.get("figures", "")).strip()
    known = (hub for words, hub in _LICENCES.items() if bundle.license.startswith(words))
    rows = [
        f"| {component} | {kind_of(bundle.components[component])} | {rounded(count)} |"
        for component, count in parameters(bundle).items()
    ]
    return _CARD.format(
        license=next(known, "other"),
        pipeline="text-to-speech" if "tts" in bundle.tasks else "audio-to-audio",
        title=name.partition("/")[2],
        name=name,
        about=described(bundle),
        components="\n".join(rows),
        tasks="\n".join(f"| {name} | {task.title} |" for name, task in TASKS.items() if name in bundle.tasks),
        figures=f"\n## Figures\n\n{figures}\n" if figures else "",
        licence_line=bundle.license or NOT_STATED,
        provenance=bundle.provenance or NOT_STATED,
    )
