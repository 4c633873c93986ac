"""`icve train --dry-run`: what a run would do and need, printed part by part; one batch of every bucket is read."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from icve.data.buckets import Bucket
from icve.data.loader import Loader
from icve.data.mixing import BucketPlan
from icve.errors import InputError
from icve.models import InContextHunyuanVideoTransformer3DModel
from icve.models.transformer import SOURCE_OPTIONS
from icve.pipelines.models import fetch_model
from icve.pipelines.summary import ModelSummary, summarise
from icve.pipelines.windows import latent_frames
from icve.training.config import EditorConfig
from icve.training.editor import TEXT_TOKENS, chosen_weights, has_source, what_is_needed
from icve.training.flops import step_flops
from icve.training.lora import choose_trainable
from icve.training.memory import MemoryEstimate, Plan, estimate
from icve.training.parts import TEXT_ENCODERS, model_folder, new_transformer_config
from icve.training.sets import make_sets

# bf16 bytes of HunyuanVideo's parts beside the transformer, where the model is not at hand to be asked.
HUNYUAN_PARTS = {"vae": 0.49e9, "text_encoder": 15.0e9, "text_encoder_2": 0.25e9}
HUNYUAN_SIDE = 16  # pixels of a token's side
MINI_COMPRESSION = 4  # pixels of a latent's side, of the autoencoder that a new model is made around


@dataclass(frozen=True)
class Sizes:
    """What the plan knows of a model without its weights."""

    config: dict[str, Any]
    parts: dict[str, float]
    """Component to bytes in bf16."""
    side: int
    """Pixels of a token's side."""


def print_plan(config: EditorConfig, show: Callable[[str], None] = print) -> None:
    """Print the plan. Nothing is trained and no weights are loaded.

    Raises:
        InputError: the model or the data cannot be used, after all that could be said before.
    """
    sizes = _sizes(config, show)
    p = config.parallel
    shard = 1 if p.shard == -1 else p.shard
    ranks, data_ranks = p.replicate * shard * p.ulysses, p.replicate * shard
    transformer = _meta(config, sizes)
    trained = choose_trainable(transformer, chosen_weights(config))
    total = sum(x.numel() for x in transformer.parameters())
    show(f"transformer   {total:,} parameters, {trained:,} learn ({config.train.what})")
    show(f"source        {', '.join(f'{name} {transformer.config[name]}' for name in SOURCE_OPTIONS)}")
    show(
        f"processes     {ranks} (replicate {p.replicate} x shard {shard} x ulysses {p.ulysses}), precision "
        f"{config.precision}, checkpointing {p.checkpointing}, compile {p.compile}"
    )
    show(f"steps         {config.steps:,}, {config.optimizer.kind}, learning rate {config.optimizer.lr:g}")
    show("")
    plan = Plan(
        config=dict(transformer.config),
        what=chosen_weights(config),
        optimizer=config.optimizer.kind,
        precision=config.precision,
        averages=config.optimizer.ema > 0,
        checkpointing=p.checkpointing,
        storage=config.train.base.storage,
        offload=config.train.base.offload,
        replicate=p.replicate,
        shard=shard,
        ulysses=p.ulysses,
        compute="cuda" if torch.cuda.is_available() or total > 10**9 else "cpu",
    )
    show("bucket             batch  micro-batch     tokens  TFLOP a step  memory of a process")
    largest: MemoryEstimate | None = None
    source = has_source(config)
    resident = int(sum(sizes.parts.get(name, 0) for name in _resident(config)))

    @cache
    def memory_of(tokens: int, micro: int) -> MemoryEstimate:
        batch = micro * config.flow.draws
        return estimate(plan, tokens=tokens, text_tokens=TEXT_TOKENS, batch=batch, source=source, resident=resident)

    for bucket in config.data.buckets:
        tokens = _tokens(bucket.size, sizes.side)
        micro = bucket.batch // (data_ranks * config.accumulate)
        if micro * data_ranks * config.accumulate != bucket.batch:
            raise InputError(
                f"the batch of {bucket.batch} ({bucket.size}) cannot be cut for {data_ranks} processes x accumulate "
                f"{config.accumulate}: give a multiple of {data_ranks * config.accumulate}."
            )
        memory = memory_of(tokens, micro)
        flops = step_flops(transformer, tokens=tokens, text_tokens=TEXT_TOKENS, batch=bucket.batch, source=source)
        show(
            f"{bucket.size!s:<17}{bucket.batch:>7}{micro:>13}{tokens * (1 + source):>11,}"
            f"{flops.model * config.flow.draws / 1e12:>14,.1f}{memory.total / 1e9:>17,.2f} GB"
        )
        if largest is None or memory.total > largest.total:
            largest = memory
    show("")
    show(str(largest))
    show("")
    _show_data(config, data_ranks, sizes, show)


def _show_data(config: EditorConfig, data_ranks: int, sizes: Sizes, show: Callable[[str], None]) -> None:
    needs = what_is_needed(config)
    cell = sizes.side if config.flow.naming_weight else None
    sets = make_sets(config.data, config.seed, "train", embedded=needs.embedded, names_cell=cell)
    buckets = list(config.data.buckets)
    whole = Loader(sets, [BucketPlan(b.size, b.batch, b.weight, b.start, b.stop) for b in buckets], seed=config.seed)
    for row in whole.describe(config.steps):
        held = [f"{name} ({'endless' if n is None else f'{n:,}'})" for name, n in row.samples.items() if n != 0]
        drawn = round(row.share * config.steps)
        sources = ", ".join(held) or "nothing"
        show(f"{row.plan.bucket}: {drawn:,} steps, {drawn * row.plan.batch:,} samples drawn from {sources}")
        if held and drawn:
            _show_batch(sets, row.plan, data_ranks, config.seed, show)


def _show_batch(sets: Any, plan: BucketPlan, data_ranks: int, seed: int, show: Callable[[str], None]) -> None:
    loader = Loader(sets, [BucketPlan(plan.bucket, plan.batch)], seed=seed, ranks=data_ranks)
    start = time.perf_counter()
    batch = next(loader.batches(0, 1))
    seconds = time.perf_counter() - start
    kind = "pixels, encoded in each step" if batch.target.dtype == torch.uint8 else "latents"
    text = "embedded" if batch.text_embeddings is not None else "encoded in each step"
    bad = int((~batch.valid).sum())
    unreadable = f", {bad} of {len(batch.slots)} unreadable ({batch.problems[0]})" if bad else ""
    show(f"  a batch was read in {seconds:.2f} s: {kind}, text {text}{unreadable}")
    show(f'  "{batch.texts[0]}"')


def _sizes(config: EditorConfig, show: Callable[[str], None]) -> Sizes:
    if config.model is not None:
        return Sizes(new_transformer_config(config.model), {}, MINI_COMPRESSION * config.model.patch_size)
    if config.start is None:
        raise InputError("there is nothing to train: set `start` to a model, or `model` to the sizes of a new one.")
    start = model_folder(config.start)
    try:
        # of a hub id, the small files only
        folder = (
            fetch_model(start, skip=()) if Path(start).exists() or "/" not in str(start) else _small_files(str(start))
        )
        summary = summarise(folder)
    except InputError as error:
        if "cannot be downloaded" not in str(error):
            raise
        show(f"model         {config.start} is out of reach; the sizes of HunyuanVideo's 13B are taken")
        with torch.device("meta"):
            defaults = dict(InContextHunyuanVideoTransformer3DModel().config)
        return Sizes(defaults, HUNYUAN_PARTS, HUNYUAN_SIDE)
    show(f"model         {config.start}" + (f": {summary.settings['licence']}" if summary.settings["licence"] else ""))
    return _of(summary)


def _of(summary: ModelSummary) -> Sizes:
    configs = {c.name: c.config for c in summary.components}
    weights = any(c.parameters for c in summary.components)  # of a hub's model only the small files are here
    parts = {c.name: 2.0 * c.parameters for c in summary.components} if weights else HUNYUAN_PARTS
    side = configs["vae"].get("spatial_compression_ratio", 8) * configs["transformer"].get("patch_size", 2)
    return Sizes(configs["transformer"], parts, side)


def _small_files(hub_id: str) -> Path:
    """The folder of a hub model, without its weights."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, allow_patterns=["*.json", "*/*.json"]))
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"The model {hub_id} cannot be downloaded: {str(error).splitlines()[0]}.") from error


def _meta(config: EditorConfig, sizes: Sizes) -> InContextHunyuanVideoTransformer3DModel:
    options = {name: getattr(config.flow, name) for name in SOURCE_OPTIONS if getattr(config.flow, name) is not None}
    with torch.device("meta"):
        return InContextHunyuanVideoTransformer3DModel.from_config({**sizes.config, **options})


def _resident(config: EditorConfig) -> list[str]:
    """Components beside the transformer that lie on the device."""
    try:
        needs = what_is_needed(config)
    except InputError:  # no data yet: as if it were encoded, which is what the large configs ask for
        return []
    return (["vae"] if needs.vae else []) + (list(TEXT_ENCODERS) if needs.text else [])


def _tokens(bucket: Bucket, side: int) -> int:
    return latent_frames(bucket.frames) * (bucket.height // side) * (bucket.width // side)
