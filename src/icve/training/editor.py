"""Trains an editor: puts model, data, method and parallelism together as a config says, and saves the result."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from icve.data.samples import BadSampleError, Batch, TextEmbedding
from icve.data.shards import ShardSet
from icve.errors import InputError
from icve.models.convolutions import use_fast_convolutions
from icve.models.options import with_options
from icve.models.transformer import SOURCE_OPTIONS
from icve.pipelines.adapters import save_adapter
from icve.pipelines.models import COMPONENTS, show_licence
from icve.training import parallel
from icve.training.card import describe, forget_paths, read_history, write_card
from icve.training.checks import check_choices, check_embeddings, check_latents, check_sizes
from icve.training.conditions import Conditions
from icve.training.config import EditorConfig, ShardSetConfig
from icve.training.flops import peak_flops, step_flops
from icve.training.flow_matching import InContextFlowMatching
from icve.training.frozen_loading import load_frozen
from icve.training.log import Log, Work
from icve.training.lora import LORA_TARGETS, Full, Layers, Lora, choose_trainable
from icve.training.naming import Naming
from icve.training.optimizer import MasterOptimizer
from icve.training.parallel import Layout
from icve.training.parts import (
    TEXT_ENCODERS,
    Parts,
    adapter_base,
    load_parts,
    model_folder,
    new_parts,
    open_start,
    save_model,
    whole_state,
)
from icve.training.run_folder import RunFolder
from icve.training.sets import held_out_loader, make_loader, make_sets
from icve.training.trainer import Trainer
from icve.training.validation import Judge, Validation, held_out_batches

TEXT_TOKENS = 32  # of a usual instruction, for FLOPs: the video has hundreds of times as many


@dataclass(frozen=True)
class Needs:
    """What the data leaves to be computed while training."""

    embedded: bool
    """Texts come as embeddings."""
    text: bool
    vae: bool


def train_editor(config: EditorConfig, judge: Judge | None = None) -> bool:
    """Run one stage; its result is OUTPUT/model, a folder that `icve edit --model` takes.

    Args:
        judge: for `validation.judge`.

    Returns:
        Whether the run has ended; False when it was asked to stop before, and has saved.

    Raises:
        InputError: something that the config names cannot be used.
    """
    check_choices(config)
    layout = Layout.create(config.parallel)
    try:
        with RunFolder.claimed(config, writes=layout.rank == 0) as folder:
            return _train(config, layout, folder, judge)
    except RuntimeError as error:
        if not parallel.is_lost_rank(error):
            raise
        raise InputError("another rank of the run has ended: see its message. The same command goes on.") from error
    finally:
        layout.close()


def _train(config: EditorConfig, layout: Layout, folder: RunFolder, judge: Judge | None) -> bool:
    if (folder.model / "training.json").is_file():
        if folder.writes:
            print(f"{folder.model} is there: this run has ended; remove the folder to train again.", file=sys.stderr)
        return True
    run = build(config, layout)
    log = Log(
        config.log,
        folder,
        ranks=layout.world_size,
        work=run.work(config),
        peak=peak_flops(layout.device),
    )
    callbacks = [run.validation(config, layout, judge)] if config.validation.every else []
    trainer = Trainer(
        config, run.method, run.modules, run.optimizer, run.loader(config, layout), layout, folder, log, callbacks
    )
    if not trainer.run():
        return False
    trainer.with_averages(lambda: finish(trainer, run, config))
    return True


@dataclass
class Run:
    """What a config becomes: parts, method, the modules that learn, the optimizer."""

    parts: Parts
    method: InContextFlowMatching
    modules: dict[str, nn.Module]
    optimizer: MasterOptimizer
    needs: Needs
    names_cell: int | None

    def loader(self, config: EditorConfig, layout: Layout) -> Any:
        """The loader of training batches."""
        sets = make_sets(config.data, config.seed, "train", embedded=self.needs.embedded, names_cell=self.names_cell)
        return make_loader(config, sets, layout)

    def validation(self, config: EditorConfig, layout: Layout, judge: Judge | None) -> Validation:
        """The validation, its batches read."""
        sets = make_sets(config.data, config.seed, "held_out", embedded=self.needs.embedded, names_cell=self.names_cell)
        loader, steps = held_out_loader(sets, config.data.buckets, config.validation.samples, layout)
        pipe = self.parts.pipeline() if set(COMPONENTS) <= set(self.parts.loaded) else None
        return Validation(config.validation, self.method, held_out_batches(loader, steps), pipe, judge)

    def work(self, config: EditorConfig) -> Callable[[Batch], Work]:
        """Tokens and FLOPs of a batch on this rank, for the log."""
        draws, ulysses = config.flow.draws, config.parallel.ulysses

        @cache
        def sample(tokens: int, source: bool) -> Work:
            flops = partial(step_flops, self.parts.transformer, tokens=tokens, text_tokens=TEXT_TOKENS)
            if not source:
                return Work(tokens * draws, draws * flops(source=False).model)
            if draws == 1 or not self.parts.transformer.can_cache_source:
                return Work(2 * tokens * draws, draws * flops(source=True).model)
            # Further draws only attend to the source's keys, which is left out: the share of the peak is a lower bound.
            return Work(tokens * (1 + draws), flops(source=True).model + (draws - 1) * flops(source=False).model)

        def work(batch: Batch) -> Work:
            one = sample(self.method.tokens(batch.bucket), batch.source is not None)
            return Work(len(batch.slots) * one.tokens // ulysses, len(batch.slots) * one.flops / ulysses)

        return work


def build(config: EditorConfig, layout: Layout) -> Run:
    """Load or make the model, choose what learns, shard it."""
    torch.manual_seed(config.seed)
    compute = torch.bfloat16 if config.precision == "bf16" else torch.float32
    needs = what_is_needed(config)
    parts = make_parts(config, needs, layout.device, compute)
    if parts.settings["licence"] and layout.rank == 0:
        show_licence(parts.settings["licence"])
    transformer = parts.transformer
    modules: dict[str, nn.Module] = {"transformer": transformer}
    choose_trainable(transformer, chosen_weights(config))
    for name in TEXT_ENCODERS:
        if name in parts.loaded:
            encoder = parts.loaded[name].requires_grad_(config.train.text_encoders)
            encoder.get_input_embeddings().weight.requires_grad_(False)
            if config.train.text_encoders:
                modules[name] = encoder
    naming = None
    if config.flow.naming_weight:
        naming = modules["naming"] = Naming(transformer).to(compute)
    for part in {**parts.loaded, **modules}.values():
        # What is sharded goes to the device block by block: no device need hold all of it.
        if isinstance(part, nn.Module) and (layout.mesh is None or part not in modules.values()):
            part.to(layout.device)
    if "vae" in parts.loaded:
        parts.loaded["vae"].requires_grad_(False).to(compute, memory_format=torch.channels_last_3d)
        use_fast_convolutions(parts.loaded["vae"])
    parallel.apply(
        modules,
        layout,
        precision=config.precision,
        checkpointing=config.parallel.checkpointing,
        compile=config.parallel.compile,
    )
    for module in modules.values():
        module.train()
    o = config.optimizer
    optimizer = MasterOptimizer(modules, kind=o.kind, weight_decay=o.weight_decay, ema=o.ema, betas=o.betas)
    spatial = parts.loaded["vae"].spatial_compression_ratio if "vae" in parts.loaded else _spatial(parts)
    check_sizes(config, spatial * transformer.config.patch_size)
    conditions = Conditions(
        settings=parts.settings,
        tokenizer=parts.loaded.get("tokenizer"),
        tokenizer_2=parts.loaded.get("tokenizer_2"),
        text_encoder=parts.loaded.get("text_encoder"),
        text_encoder_2=parts.loaded.get("text_encoder_2"),
        vae=parts.loaded.get("vae"),
        spatial_compression=spatial,
        guidance_embeds=transformer.config.guidance_embeds,
        device=layout.device,
        dtype=compute,
        empty=_empty_prompt(config) if needs.embedded else None,
    )
    method = InContextFlowMatching(transformer, conditions, config.flow, config.seed, layout.device, compute, naming)
    cell = conditions.spatial_compression * transformer.config.patch_size if naming is not None else None
    return Run(parts, method, modules, optimizer, needs, cell)


def what_is_needed(config: EditorConfig) -> Needs:
    """Ask the data what it holds."""
    shards = [ShardSet(s.path, kind=s.pairs) for s in config.data.sets if isinstance(s, ShardSetConfig)]
    drawn = len(shards) < len(config.data.sets)
    embedded = bool(shards) and not drawn and not config.train.text_encoders
    embedded = embedded and all(s.text_encoder is not None for s in shards)
    edits = config.validation.every > 0 and (config.validation.edits > 0 or config.validation.judge > 0)
    sizes = [b.size for b in config.data.buckets]
    pixels = drawn or any(not s.serves_latents(size) for s in shards for size in sizes if size in s.buckets)
    return Needs(embedded, text=not embedded or edits, vae=pixels or edits)


def make_parts(config: EditorConfig, needs: Needs, device: torch.device, dtype: torch.dtype) -> Parts:
    """The parts that the run needs, with the config's choices of how the source enters."""
    options = {name: getattr(config.flow, name) for name in SOURCE_OPTIONS if getattr(config.flow, name) is not None}
    if config.model is not None:
        parts = new_parts(config.model, config.start, config.autoencoder, dtype)
    elif config.start is None:
        raise InputError("there is nothing to train: set `start` to a model, or `model` to the sizes of a new one.")
    else:
        names = {"transformer"} | ({"vae"} if needs.vae else set())
        names |= {"tokenizer", "tokenizer_2", *TEXT_ENCODERS} if needs.text else set()
        names |= {"scheduler"} if needs.text and needs.vae else set()
        files = open_start(config.start)
        base = config.train.base
        given: dict[str, Any] = {}
        if base.storage is not None or base.offload:
            given["transformer"] = load_frozen(
                files.folder / "transformer",
                storage=base.storage,
                offload=base.offload,
                device=device,
                dtype=dtype,
                **options,
            )
        parts = load_parts(files, names, dtype, **given)
    if config.prompt_template is not None:
        parts.settings["prompt_template"] = config.prompt_template
    check_latents(config, parts)
    if needs.embedded:
        check_embeddings(config, parts.transformer.config)
    changed = {name: value for name, value in options.items() if parts.transformer.config[name] != value}
    if changed:
        parts.loaded["transformer"] = with_options(parts.transformer, **changed)
    if config.flow.draws > 1 and not parts.transformer.can_cache_source and has_source(config):
        raise InputError(
            f"flow.draws: {config.flow.draws} needs a source that the draws can share (source_attention self, "
            "source_timestep zero, source_entry context); set flow.draws: 1."
        )
    return parts


def finish(trainer: Trainer, run: Run, config: EditorConfig) -> None:
    """Write OUTPUT/model beside its place, with its card, and rename it. All ranks call it; the first writes."""
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    folder, part = trainer.folder, ".lora_" if config.train.what == "lora" else ""
    weights = {
        name: whole_state(module, dtype, keep=folder.writes, part=part)
        for name, module in run.modules.items()
        if name in COMPONENTS
    }
    if not folder.writes:
        return
    starts = [config.start, config.autoencoder]
    behind = [run.parts.folder, *(Path(model_folder(s)) for s in starts if s is not None)]
    history = read_history(dict.fromkeys(behind))
    stage = {
        "name": folder.path.name,
        "seconds": round(trainer.seconds),
        "samples": trainer.samples,
        "config": describe(folder.config),
        "figures": last_figures(folder),
        "curve": folder.rows("curve.jsonl"),
    }
    origin = None if history or config.model is not None else config.start
    with folder.result() as beside:
        if config.train.what == "lora":
            assert config.start is not None
            base = adapter_base(config.start)
            save_adapter(run.parts.transformer, run.parts.settings, beside, base, weights["transformer"])
        else:
            save_model(run.parts, weights, beside)
            forget_paths(beside)
        write_card(beside, [*history, stage], run.parts.settings["licence"], origin)
    trainer.log.note(f"{folder.model}: {stage['figures']}")


def last_figures(folder: RunFolder) -> dict[str, Any]:
    """The last row of the log and of the curve, in short."""
    figures: dict[str, Any] = {}
    if log := folder.rows("log.jsonl"):
        figures["loss"] = log[-1].get("loss")
    if curve := folder.rows("curve.jsonl"):
        losses = curve[-1]["held_out"].values()
        figures["held_out_loss"] = round(sum(losses) / len(losses), 4)
        if "success" in curve[-1]:
            figures["success"] = curve[-1]["success"]
    return figures


def chosen_weights(config: EditorConfig) -> Full | Lora | Layers:
    """What `train` says, for `choose_trainable`."""
    t = config.train
    if t.what == "lora":
        return Lora(t.lora.rank, t.lora.alpha, tuple(t.lora.targets or LORA_TARGETS))
    return Layers(tuple(t.layers)) if t.what == "layers" else Full()


def has_source(config: EditorConfig) -> bool:
    """Whether any set has pairs with a source."""
    return any(getattr(s, "pairs", "") not in ("text_to_video", "captions") for s in config.data.sets)


def _empty_prompt(config: EditorConfig) -> TextEmbedding | None:
    """The embedding of the empty prompt, for text dropout."""
    if not config.flow.text_dropout:
        return None
    first = next(s for s in config.data.sets if isinstance(s, ShardSetConfig))
    try:
        return ShardSet(first.path, kind=first.pairs, text="embedded").text_embedding("")
    except BadSampleError as error:
        raise InputError(
            f"text dropout needs the embedding of the empty prompt, which {first.path} lacks: run `icve data encode` "
            "on it again, or set flow.text_dropout: 0."
        ) from error


def _spatial(parts: Parts) -> int:
    """Pixels of a latent's side, read from the autoencoder's config where that is not loaded."""
    assert parts.folder is not None
    config = json.loads((parts.folder / "vae" / "config.json").read_text())
    return int(config.get("spatial_compression_ratio", 8))
