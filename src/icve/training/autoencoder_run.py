"""Trains the mini's autoencoder: its model, data and method put together as a config says, and the result saved."""

import sys
from pathlib import Path

import torch

from icve.errors import InputError
from icve.models.convolutions import use_fast_convolutions
from icve.training.autoencoder import Reconstruction, build_autoencoder, inflate, measure, scaling_factor
from icve.training.card import describe, read_history, write_card
from icve.training.config import AutoencoderConfig, ParallelConfig
from icve.training.log import Log
from icve.training.optimizer import MasterOptimizer
from icve.training.parallel import Layout
from icve.training.parts import load_autoencoder
from icve.training.run_folder import RunFolder
from icve.training.sets import make_loader, make_sets
from icve.training.trainer import Trainer


def train_autoencoder(config: AutoencoderConfig) -> bool:
    """Train, set the scaling factor to one over the latents' deviation, and save OUTPUT/model; whether it has ended.

    Raises:
        InputError: something that the config names cannot be used.
    """
    layout = Layout.create(ParallelConfig())
    if layout.world_size > 1:
        raise InputError("the autoencoder is trained in one process: run it without torchrun.")
    with RunFolder.claimed(config) as folder:
        return _train(config, layout, folder)


def _train(config: AutoencoderConfig, layout: Layout, folder: RunFolder) -> bool:
    torch.manual_seed(config.seed)
    if (folder.model / "training.json").is_file():
        print(f"{folder.model} is there: this run has ended; remove the folder to train again.", file=sys.stderr)
        return True
    vae = build_autoencoder(config) if config.start is None else load_autoencoder(config.start)
    if config.inflate:
        inflate(vae)
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    vae.to(layout.device, dtype, memory_format=torch.channels_last_3d).train()
    use_fast_convolutions(vae)
    o = config.optimizer
    optimizer = MasterOptimizer({"vae": vae}, kind=o.kind, weight_decay=o.weight_decay, ema=o.ema, betas=o.betas)
    sets = make_sets(config.data, config.seed, "train", embedded=False)
    trainer = Trainer(
        config,
        Reconstruction(vae, config),
        {"vae": vae},
        optimizer,
        make_loader(config, sets, layout),
        layout,
        folder,
        Log(config.log, folder),
    )
    if not trainer.run():
        return False

    def finish() -> None:
        vae.register_to_config(scaling_factor=scaling_factor(vae, config.seed))
        stage = {
            "name": folder.path.name,
            "seconds": round(trainer.seconds),
            "samples": trainer.samples,
            "config": describe(folder.config),
            "figures": {"psnr_db": round(measure(vae, config.seed), 2)},
        }
        start = None if config.start is None else Path(config.start)
        behind = [] if start is None else [start, start / "model"]
        with folder.result() as beside:
            vae.save_pretrained(beside)
            write_card(beside, [*read_history(behind), stage], "Apache-2.0")
        trainer.log.note(f"{folder.model}: {stage['figures']}")

    trainer.with_averages(finish)
    return True
