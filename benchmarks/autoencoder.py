"""PSNR of world clips through a model's autoencoder: over all pixels, and over the things and the 2 pixels around them.

python benchmarks/autoencoder.py [--model mini] [--clips 128]
"""

import argparse
import math

import numpy as np
import torch
from torch import Tensor

from icve import InContextVideoEditPipeline
from icve.data.world import masks, render
from icve.data.world.sampling import generator
from icve.data.world.stills import sample_scene_with_look

SEED = 10**9  # no training run draws with it
BATCH = 8


def clips(split: str, count: int) -> tuple[Tensor, Tensor]:
    """Videos (N, 3, 9, 64, 64) in [-1, 1] and where their things are (N, 1, 9, 64, 64), 0 or 1."""
    scenes = [sample_scene_with_look(generator(SEED, i), split) for i in range(count)]
    video = torch.from_numpy(np.stack([render(s) for s in scenes])).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    things = torch.from_numpy(np.stack([np.max(masks(s), axis=0) for s in scenes]))[:, None].float()
    return video, torch.nn.functional.max_pool3d((things > 0).float(), (1, 5, 5), 1, (0, 2, 2))


def psnr(error: Tensor, where: Tensor) -> float:
    """dB, of squared errors (…, 3, F, H, W) of values in [-1, 1], where `where` is 1."""
    return -10 * math.log10(float((error * where).sum() / (error.shape[-4] * where.sum())) / 4)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--clips", type=int, default=128)
    args = parser.parse_args()
    vae = InContextVideoEditPipeline.from_pretrained(args.model).vae.eval()
    print(
        f"{'split':6} {'mean of clips':>14} {'all clips as one':>17} {'things, mean':>13} {'things as one':>14}   (dB)"
    )
    for split in ("core", "full"):
        video, things = clips(split, args.clips)
        coded = torch.cat([vae.decode(vae.encode(v).latent_dist.mode()).sample for v in video.split(BATCH)])
        error, everywhere = (coded.clamp(-1, 1) - video).square(), torch.ones_like(things)
        figures = []
        for where in (everywhere, things):
            figures += [np.mean([psnr(e, w) for e, w in zip(error, where, strict=True)]), psnr(error, where)]
        print(f"{split:6} {figures[0]:14.2f} {figures[1]:17.2f} {figures[2]:13.2f} {figures[3]:14.2f}")


if __name__ == "__main__":
    main()
