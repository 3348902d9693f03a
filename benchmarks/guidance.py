"""Whether guidance helps a generator: its cross-entropy at the first step of decoding, by guidance weight.

    python benchmarks/guidance.py --bundle=BUNDLE --shards=SHARDS --task=vc [--weights=0,1,2.5] [--rows=32]

All target frames are masked, as when decoding begins, behind the prompt that inference would give.  Rows are held-out
speakers of the shards.  A generator whose unconditional pass was never trained has a much larger cross-entropy with
guidance than without.  Prints one JSON object: nats and accuracy per target frame, by weight; "bare" is the pass
without prompt alone.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metis_jax.data.batches.examples import ExampleConfig
from metis_jax.data.batches.pipeline import PartConfig, Pipeline, PipelineConfig
from metis_jax.data.batches.recipes import PROMPTED, RecipeConfig
from metis_jax.data.corpus.corpus import Selection
from metis_jax.decoding.guidance import guide
from metis_jax.models.semantic_generator import SemanticGenerator
from metis_jax.objectives.masked_tokens import masked_token_loss
from metis_jax.ops.lengths import take, valid_mask
from metis_jax.training.trainers.semantic_generator import SemanticGeneratorTrainer
from metis_jax.types import Array, Float
from metis_jax.weights.bundle import Bundle


def nats_by_weight(
    trainer: SemanticGeneratorTrainer, params: dict[str, Any], batch: dict[str, Array], weights: Float[Array, " w"]
) -> tuple[Float[Array, " k"], Float[Array, " k"], Float[Array, ""]]:
    """Sums of nats and of right frames for the bare pass and every guidance weight, and the number of target frames."""
    tokens, features = trainer.targets(params, batch)
    b, t = tokens.shape
    prompts, lengths = batch["prompt_lengths"], batch["lengths"]
    model = SemanticGenerator(trainer.generator, trainer.policy, trainer.lora)
    whole, bare = model.apply(
        params["semantic_generator"],
        tokens,
        ~valid_mask(prompts, t),
        jnp.ones((b,), jnp.float32),
        prompt_lengths=prompts,
        lengths=lengths,
        target_frames=t,
        condition=trainer.condition(batch, features, prompts, t),
        method="with_and_without_prompt",
    )
    conditional, truth = take(whole, prompts, t), take(tokens, prompts, t)
    is_target = valid_mask(lengths - prompts, t)
    is_scored = is_target & ~valid_mask(batch["target_starts"] - prompts, t)

    def score(hidden: Float[Array, "b t d"]) -> tuple[Array, Array]:
        logits = model.apply(params["semantic_generator"], hidden, method="logits")
        found = masked_token_loss(logits, truth, is_scored)
        return found.loss * found.count, found.accuracy * found.count

    scores = [score(bare), *(score(guide(conditional, bare, weight, is_target)) for weight in weights)]
    nats, right = (jnp.stack(column) for column in zip(*scores, strict=True))
    return nats, right, jnp.sum(is_scored, dtype=jnp.float32)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Cross-entropy of a generator by guidance weight.")
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--shards", required=True)
    parser.add_argument("--task", default="vc", choices=PROMPTED)
    parser.add_argument("--weights", default="0,0.5,1,2.5")
    parser.add_argument("--rows", type=int, default=32, help="examples, a multiple of 4")
    parser.add_argument("--split", default="validation", choices=("train", "validation", "all"))
    flags = parser.parse_args(arguments)
    try:
        weights = [float(text) for text in flags.weights.split(",")]
        bundle = Bundle(flags.bundle)
        generator = bundle.load_generator(flags.task)
        encoder, codec = bundle.load("ssl_encoder"), bundle.load("semantic_codec")
        trainer = SemanticGeneratorTrainer(
            generator=generator.config, lora=generator.lora, ssl_encoder=encoder[0], semantic_codec=codec[0]
        )
        pipeline = Pipeline(
            PipelineConfig(
                stage="finetune",
                shards=flags.shards,
                rows=4,
                buckets=(250,),
                recipe=RecipeConfig(prompt_frames=(50, 100)),
                example=ExampleConfig(target="wave"),
                parts=(PartConfig(task=flags.task, select=Selection(held_out_share=0.2)),),
            ).for_split(flags.split)
        )
    except (ValueError, OSError) as error:
        print(f"guidance: {error}", file=sys.stderr)
        return 2
    params = {"semantic_generator": generator.variables, "ssl_encoder": encoder[1], "semantic_codec": codec[1]}
    run = jax.jit(nats_by_weight, static_argnums=0)
    total = None
    for step in range(max(1, flags.rows // 4)):
        batch = {name: jnp.asarray(x) for name, x in pipeline[step].items()}
        found = run(trainer, params, batch, jnp.asarray(weights, jnp.float32))
        total = found if total is None else jax.tree.map(jnp.add, total, found)
    nats, right, frames = (np.asarray(x) for x in total)
    names = ["bare", *(f"guidance {weight:g}" for weight in weights)]
    print(
        json.dumps(
            {"task": flags.task, "rows": 4 * max(1, flags.rows // 4), "frames": int(frames)}
            | {
                name: {"nats": round(float(x / frames), 3), "accuracy": round(float(y / frames), 4)}
                for name, x, y in zip(names, nats, right, strict=True)
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
