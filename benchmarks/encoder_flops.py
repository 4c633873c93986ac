"""FLOP of HunyuanVideo's video encoder for one clip, counted without weights or memory (docs/reproduce.md).

python benchmarks/encoder_flops.py [FRAMESxHEIGHTxWIDTH …]
"""

import sys

import torch
from diffusers import AutoencoderKLHunyuanVideo
from torch.utils.flop_counter import FlopCounterMode

SIZES = ["33x240x416", "61x480x768"]  # of configs/hunyuan


def main() -> None:
    """Prints a line for each size."""
    with torch.device("meta"), torch.no_grad():
        vae = AutoencoderKLHunyuanVideo()  # its defaults are HunyuanVideo's
        for size in sys.argv[1:] or SIZES:
            with FlopCounterMode(display=False) as counter:
                vae.encode(torch.empty(1, 3, *map(int, size.split("x"))))
            print(f"{size:<14}{counter.get_total_flops() / 1e12:>10,.1f} TFLOP")


if __name__ == "__main__":
    main()
