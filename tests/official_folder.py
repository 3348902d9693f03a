"""A reduced folder in the authors' published layout, filled with reproducible weights."""

import json
from pathlib import Path

import numpy as np
import recipe
from safetensors.numpy import save_file

SPECS = Path(__file__).parent / "golden" / "specs"
SEMANTIC_CODEC = "amphion/MaskGCT/semantic_codec/model.safetensors"
STATISTICS = "amphion/MaskGCT/wav2vec2bert_stats.npz"

# published path -> spec
FILES = {
    "facebook/w2v-bert-2.0/model.safetensors": "mini_w2v_bert",
    SEMANTIC_CODEC: "mini_semantic_codec",
    "amphion/MaskGCT/acoustic_codec/model.safetensors": "mini_acoustic_codec_encoder",
    "amphion/MaskGCT/acoustic_codec/model_1.safetensors": "mini_acoustic_codec_decoder",
    "amphion/MaskGCT/s2a_model/s2a_model_1layer/model.safetensors": "mini_s2a_model_1layer",
    "amphion/MaskGCT/s2a_model/s2a_model_full/model.safetensors": "mini_s2a_model_full",
    "amphion/metis/metis_base/model.safetensors": "tiny_stage1_base",
    "amphion/metis/metis_se/metis_se.safetensors": "mini_stage1",
    "amphion/metis/metis_tse/metis_tse_lora_32.safetensors": "tiny_stage1_lora4",
    "amphion/metis/metis_tse/metis_tse_lora_32_adapter.safetensors": "tiny_stage1_lora4_adapter",
}


def shapes(spec):
    return json.loads((SPECS / f"{spec}.json").read_text())


def write_official(folder, only=tuple(FILES)):
    """Writes the files `only` under `folder`, and the statistics where there is an SSL encoder."""
    for path in only:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        save_file(recipe.state_dict(shapes(FILES[path])), target)
        if "w2v-bert" in path:
            (folder / STATISTICS).parent.mkdir(parents=True, exist_ok=True)
            variance = (1 + np.abs(recipe.inputs("ssl_std", (64,), 0.1))) ** 2
            np.savez(folder / STATISTICS, mean=recipe.inputs("ssl_mean", (64,), 0.1), var=variance)
    return folder
