"""`icve evaluate world`: how many edits of the procedural world a model gets right, by an exact judge."""

import argparse
import sys
from pathlib import Path
from typing import Any

from icve.commands.arguments import positive, seed
from icve.errors import InputError

OPERATIONS = ("add", "remove", "replace", "recolour", "background", "look", "camera", "double", "timed")
FULL_ONLY = ("camera", "double", "timed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.epilog = (
        "world: edits held-out samples of the procedural world and judges each: what was asked must be right and "
        "everything else as it was.\nWrites OUT/summary.json, OUT/samples.jsonl and OUT/sheet.png; the same command "
        "goes on where it was interrupted."
    )
    parser.add_argument("benchmark", choices=("world",), help="what to evaluate on")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="a folder, made if missing")
    parser.add_argument("--model", default="mini", help="a bundled model, a folder, or a hub id (default: mini)")
    parser.add_argument(
        "--split",
        default="core",
        choices=("core", "full"),
        help="core (default): single edits, still camera; full: photographs, camera moves, two edits in one "
        "sentence, edits in time too",
    )
    parser.add_argument("--limit", type=positive, default=400, metavar="N", help="samples (default: 400)")
    parser.add_argument("--seed", type=seed, default=0, help="of the samples and the noise (default: 0)")
    parser.add_argument(
        "--operation", action="append", default=[], choices=OPERATIONS, help="only this; may be repeated"
    )
    parser.add_argument(
        "--wording", default="seen", choices=("seen", "unseen"), help="of the instructions, in training"
    )
    parser.add_argument("--steps", type=positive, metavar="N", help="denoising steps (default: the model's)")
    parser.add_argument("--guidance", type=float, metavar="G", help="guidance scale (default: the model's)")
    parser.add_argument(
        "--preserve",
        default="off",
        choices=("off", "auto"),
        help="auto: judge the edit with the "
        "source's own pixels wherever nothing changed, as `icve edit` writes it (default: off)",
    )
    parser.add_argument("--batch", type=positive, default=8, metavar="N", help="samples edited at once (default: 8)")


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the figures and return the exit code."""
    if args.split == "core" and (outside := [name for name in args.operation if name in FULL_ONLY]):
        raise InputError(f"--operation {outside[0]} is not in the split core; add --split full.")
    import zlib

    import torch

    from icve.evaluation.editors import pipeline_editor, preserving
    from icve.evaluation.loop import evaluate_edits, held_out_edit
    from icve.evaluation.record import Record
    from icve.pipelines.edit import InContextVideoEditPipeline
    from icve.pipelines.models import device_and_dtype

    device, dtype = device_and_dtype()
    pipe = InContextVideoEditPipeline.from_pretrained(args.model, torch_dtype=dtype).to(device)
    pipe.set_progress_bar_config(disable=True)
    frames, height, width = pipe.config.sizes[0]
    last_layer = pipe.transformer.proj_out.weight.detach().cpu().contiguous().view(torch.uint8).numpy()
    chosen = {key: getattr(args, key) for key in ("split", "seed", "operation", "wording", "preserve")}
    settings = chosen | {
        "model": args.model,
        "weights": f"{zlib.crc32(last_layer.tobytes()):08x}",  # a folder may hold another model tomorrow
        "steps": args.steps or pipe.config.num_inference_steps,
        "guidance": pipe.config.guidance_scale if args.guidance is None else args.guidance,
        "size": [frames, height, width],
    }
    record = Record(args.output, settings)
    edits = {
        i: held_out_edit(
            i, seed=args.seed, split=args.split, operations=args.operation, unseen=args.wording == "unseen"
        )
        for i in range(args.limit)
    }
    missing = [i for i in edits if i not in record.rows]
    judged = evaluate_edits(
        [edits[i] for i in missing],
        pipeline_editor(pipe, steps=settings["steps"], guidance=settings["guidance"]),
        seeds=[args.seed * 10**6 + i for i in missing],
        size=(frames, height, width),
        batch=args.batch,
        compose=preserving(pipe) if args.preserve == "auto" else None,
    )
    for index, sample in zip(missing, judged, strict=True):
        record.add(index, sample)
        right = sum(row["success"] for row in record.rows.values())
        _progress(f"{len(record.rows)} of {len(edits)} edits, {right} right")
    print_summary(record.finish(edits, (frames, height, width)))
    return 0


def _progress(text: str) -> None:
    live = sys.stderr.isatty()
    print(f"\r{text}\x1b[K" if live else text, end="" if live else "\n", file=sys.stderr, flush=True)


def print_summary(summary: dict[str, Any]) -> None:
    """The table on stdout."""
    rows = [(name, figures["success"]) for name, figures in summary["operations"].items()]
    print(f"\n{'operation':<12}{'n':>6}{'success':>10}   95% interval")
    for name, rate in [*rows, ("all", summary["success"])]:
        low, high = rate["interval"]
        print(f"{name:<12}{rate['n']:>6}{rate['mean']:>10.1%}   {low:.1%} to {high:.1%}")
    psnr = summary["preservation_psnr"]["mean"]
    print("preservation: " + ("nothing to measure" if psnr is None else f"{psnr:.2f} dB (the model's own output)"))
