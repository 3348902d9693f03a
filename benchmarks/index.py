"""What the index of a large corpus takes on a host: bytes a record, peak memory, and seconds of CPU.

    python benchmarks/index.py [--records=1000000] [--shards=100] [--speakers=50000]

Records have ids of 30 letters, and the index says what that of extracted tokens does; the shards themselves hold
nothing.  The pipeline is that of pre-training, with speakers held out.  Memory is that of the process above what its
imports took.
"""

import argparse
import multiprocessing
import pathlib
import resource
import tempfile
import time

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter

from metis_jax.data.batches.pipeline import Pipeline, PipelineConfig
from metis_jax.data.corpus import shards
from metis_jax.data.corpus.corpus import Corpus
from metis_jax.data.corpus.records import Record


def write_corpus(folder: pathlib.Path, records: int, count: int, speakers: int) -> None:
    """Shards of empty records, each with an index."""
    rng = np.random.default_rng(0)
    audio, tokens = b"x", np.broadcast_to(np.zeros((), np.uint16), (1500, 12))
    for shard in range(count):
        path = folder / shards.shard_name(shard, count)
        numbers = range(shard * records // count, (shard + 1) * records // count)
        writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
        for _ in numbers:
            writer.write(audio)
        writer.close()
        seconds, voices = rng.uniform(3, 30, len(numbers)), rng.integers(speakers, size=len(numbers))
        shards.write_index(
            shards.index_path(path),
            shards.index_columns(
                Record(
                    id=f"EN_B{voice:06d}_S{number % 10_000:05d}_W{number:011d}",
                    audio=audio,
                    sample_rate=24_000,
                    samples=int(24_000 * length),
                    speaker=f"EN_B{voice:06d}_S{voice % 100:05d}",
                    language="en",
                    license="CC BY-NC 4.0",
                    source="Emilia",
                    arrays={"ssl_tokens": tokens[: int(50 * length), 0], "acoustic_tokens": tokens[: int(50 * length)]},
                    encoders={"ssl_encoder": "0123456789abcdef", "acoustic_codec": "0123456789abcdef"},
                )
                for number, length, voice in zip(numbers, seconds.tolist(), voices.tolist(), strict=True)
            ),
        )


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=100)
    parser.add_argument("--speakers", type=int, default=50_000)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # Another process: what writing takes is no part of the peak.
        sizes = (flags.records, flags.shards, flags.speakers)
        writer = multiprocessing.get_context("spawn").Process(target=write_corpus, args=(pathlib.Path(folder), *sizes))
        writer.start()
        writer.join()
        before, start = peak_bytes(), time.process_time()
        corpus = Corpus([folder])
        opened, peak = time.process_time(), peak_bytes() - before
        pipeline = Pipeline(PipelineConfig(stage="pretrain", shards=folder, rows=16), corpus=corpus)
        planned, peak_of_plan = time.process_time(), peak_bytes() - before
        digest = corpus.fingerprint()
        end = time.process_time()
    kept = sum(column.nbytes for column in corpus.columns.values())
    print(f"{len(corpus)} records, {len(pipeline.parts[0])} to train on, fingerprint {digest}")
    print("| bytes a record, kept | peak of opening | of the pipeline | CPU s to open | pipeline | fingerprint |")
    print("|---|---|---|---|---|---|")
    sizes = " | ".join(f"{size / len(corpus):.0f}" for size in (kept, peak, peak_of_plan))
    print(f"| {sizes} | {opened - start:.1f} | {planned - opened:.1f} | {end - planned:.1f} |")


if __name__ == "__main__":
    main()
