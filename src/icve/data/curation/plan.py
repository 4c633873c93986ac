"""What a run would cost, from a few of its files: `icve data curate … --dry-run`."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from icve.data.curation.config import CurationConfig
from icve.data.curation.executors import run_pool
from icve.data.curation.parcels import Parcels
from icve.data.curation.records import Source
from icve.data.curation.source_run import Job
from icve.data.curation.sources import is_remote, read_sources, write_sources
from icve.data.curation.yields import Yields, format_yields
from icve.vlm.config import VlmConfig

SAMPLE = 8  # files, spread over the list

# Qwen2.5-VL: a token for each 28x28 pixels; texts are short beside the pictures.
PIXELS_PER_TOKEN = 28 * 28
TEXT_TOKENS = 400  # of a question without its pictures
ANSWER_TOKENS = 120
REWRITE_TOKENS = 180  # of a question for other words: the prompt and an instruction
WORDING_TOKENS = 30


def print_plan(videos: Sequence[str], config: CurationConfig) -> None:
    """Works on a few of the files, writes nothing that stays, and says what all of them would take.

    Raises:
        InputError: there is nothing to curate.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        count = write_sources(videos, folder / "sources.jsonl")
        places = {round(k * (count - 1) / max(1, SAMPLE - 1)) for k in range(SAMPLE)}
        chosen = [source for source in read_sources(folder / "sources.jsonl") if source.number in places]
        jobs = [Job(Source(k, source.uri, source.caption), folder, config) for k, source in enumerate(chosen)]
        for _ in run_pool(jobs, config):
            pass
        yields, clips, pairs, size = Yields(), 0, 0, 0
        for parcel in Parcels(folder / "parcels").all(len(jobs)):
            yields.add(parcel.stages)
            clips, pairs = clips + len(parcel.clips), pairs + len(parcel.pairs)
            size += sum(size for _, size in parcel.places.values())
    print(f"{count:,} sources ({sum(is_remote(source.uri) for source in chosen)} of the sample from an object store)")
    print(f"a sample of {len(jobs)}:")
    print(format_yields(yields.rows()))
    share = count / len(jobs)
    seconds = sum(row["seconds"] for row in yields.rows())
    print(
        f"all of them, if they are like these: {share * seconds / 3600:.2f} core-hours, {share * clips:,.0f} clips of"
    )
    print(f"{share * size / 1e9:.3f} GB, {share * pairs:,.0f} pairs before what is decided over all of them together")
    if config.instructor == "vlm" and config.vlm is not None:
        pictures = config.vlm.frames * (config.vlm.image_side**2 * 9 / 16) / PIXELS_PER_TOKEN
        given = clips * (pictures + TEXT_TOKENS) + pairs * (2 * pictures + 2 * TEXT_TOKENS)
        _print_cost("instructions", config.vlm, share * given, share * (clips + pairs) * ANSWER_TOKENS)
    if config.rewrite.model is not None:
        asked = share * pairs * config.rewrite.share  # at most: equal instructions share a few answers
        _print_cost("rewriting, at most", config.rewrite.model, asked * REWRITE_TOKENS, asked * WORDING_TOKENS)


def _print_cost(what: str, endpoint: VlmConfig, given: float, answered: float) -> None:
    cost = (given * endpoint.price_in + answered * endpoint.price_out) / 1e6
    print(f"{what}: {given:,.0f} + {answered:,.0f} tokens, a cost of {cost:,.2f} (for Qwen2.5-VL's way of counting)")
