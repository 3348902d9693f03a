"""Where the authors published what: three repositories, their files, and which component of ours each one fills."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from metis_jax.tasks import TASKS
from metis_jax.weights import hub
from metis_jax.weights.tensor_files import WeightsError

STATISTICS = "amphion/MaskGCT/wav2vec2bert_stats.npz"
BASE = "semantic_generator_base"


@dataclasses.dataclass(frozen=True)
class Published:
    """One component of ours in the authors' layout.

    Attributes:
      component: our name.
      kind: the kind of component, which picks the rules.
      files: {published path: pattern of the tensor names in it}.
    """

    component: str
    kind: str
    files: Mapping[str, str]


def _adapter(task: str, rank: int) -> Published:
    stem = f"amphion/metis/metis_{task}/metis_{task}_lora_{rank}"
    files = {f"{stem}.safetensors": r".*\.lora_[AB]\..*", f"{stem}_adapter.safetensors": r"model\.cond_adapter\..*"}
    return Published(f"adapter_{task}", "task_adapter", files)


def _generator(name: str, path: str) -> Published:
    return Published(f"semantic_generator_{name}", "semantic_generator", {path: ".*"})


PUBLISHED: tuple[Published, ...] = (
    Published(
        "ssl_encoder",
        "ssl_encoder",
        {"facebook/w2v-bert-2.0/model.safetensors": r"(?!(mean|var)$).*", STATISTICS: "mean|var"},
    ),
    Published("semantic_codec", "semantic_codec", {"amphion/MaskGCT/semantic_codec/model.safetensors": ".*"}),
    Published(
        "acoustic_codec",
        "acoustic_codec",
        {
            "amphion/MaskGCT/acoustic_codec/model.safetensors": r"block\..*",
            "amphion/MaskGCT/acoustic_codec/model_1.safetensors": r"(quantizer|model)\..*",
        },
    ),
    Published(
        "acoustic_generator_first",
        "acoustic_generator",
        {"amphion/MaskGCT/s2a_model/s2a_model_1layer/model.safetensors": ".*"},
    ),
    Published(
        "acoustic_generator_full",
        "acoustic_generator",
        {"amphion/MaskGCT/s2a_model/s2a_model_full/model.safetensors": ".*"},
    ),
    _generator("tts", "amphion/MaskGCT/t2s_model/model.safetensors"),
    _generator("base", "amphion/metis/metis_base/model.safetensors"),
    *(
        _generator(task, f"amphion/metis/metis_{task}/metis_{task}.safetensors")
        for task in ("se", "tse", "vc", "l2s", "omni")
    ),
    # Published as a pickle, vis_model.pth, which we do not open: save its state dict as safetensors beside it.
    Published("visual_encoder", "visual_encoder", {"amphion/metis/metis_l2s/vis_model.safetensors": ".*"}),
    _adapter("se", 32),
    _adapter("tse", 32),
    _adapter("vc", 16),
)

# What can serve each task, best first: fine-tuned as a whole, an adapter on the base, the multi-task model.
SERVING = {
    task: (f"semantic_generator_{task}", f"adapter_{task}", *(("semantic_generator_omni",) if task != "l2s" else ()))
    for task in TASKS
}


_REVISIONS = {
    "amphion/MaskGCT": "265c6cef07625665d0c28d2faafb1415562379dc",
    "facebook/w2v-bert-2.0": "da985ba0987f70aaeb84a80f2851cfac8c697a7b",
}


@dataclasses.dataclass(frozen=True)
class Root:
    """A folder to look in: one published repository (`repository` set), or a folder of several."""

    path: Path
    repository: str = ""

    def find(self, published: str) -> Path | None:
        """The file published at `published`, whether the folder is the repository, its owner's or one above."""
        owner, name, inside = published.split("/", 2)
        if self.repository:
            candidates = [inside] if f"{owner}/{name}".lower() == self.repository.lower() else []
        else:
            candidates = [published, f"{name}/{inside}", inside]
        return next((self.path / path for path in candidates if (self.path / path).is_file()), None)


def find_files(roots: Sequence[Root], statistics: Path | None) -> dict[str, Path]:
    """{published path: file} of all that is there."""
    for root in roots:
        if not root.path.is_dir():
            raise WeightsError(f"{root.path}: no such folder")
    found = {}
    for entry in PUBLISHED:
        for published in entry.files:
            path = next(filter(None, (root.find(published) for root in roots)), None)
            if published == STATISTICS and statistics is not None:
                path = statistics
            if path is not None:
                found[published] = path
    return found


def download(name: str) -> Root:
    """Fetches what we read of a repository, OWNER/NAME or OWNER/NAME@REVISION, from the Hugging Face hub (extra `hub`).

    Without a revision it is the one that was tried, where we know of one: what is published later is other weights.
    """
    repository = name.partition("@")[0]
    inside = [path.split("/", 2)[2] for entry in PUBLISHED for path in entry.files if _is_in(repository, path)]
    if not inside:
        raise WeightsError(f"hub:{repository}: not a repository of the release; use {', '.join(_repositories())}")
    return Root(hub.snapshot(name, sorted(set(inside)), revision=_REVISIONS.get(repository)), repository)


def _is_in(repository: str, published: str) -> bool:
    return published.lower().startswith(repository.lower() + "/")


def _repositories() -> list[str]:
    return sorted({"/".join(path.split("/")[:2]) for entry in PUBLISHED for path in entry.files})
