"""`icve data encode`: latents of a set's clips and embeddings of its texts, by one process or several."""

import argparse
import multiprocessing
import os
import queue
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from icve.commands.arguments import positive
from icve.errors import InputError

NOTES = """\
Shards that are done are skipped, so the same command goes on after Ctrl-C; it may also run on several machines that
share the set's disk. A clip that cannot be used is noted in SET/quarantine.jsonl and left out.
"""
POLL = 0.5  # seconds
Report = Callable[[str, int], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `icve data encode`."""
    parser.epilog = NOTES
    parser.add_argument("set", type=Path, metavar="SET", help="the set's folder")
    parser.add_argument("--model", default="mini", help="a bundled model, a folder, or a hub id (default: mini)")
    parser.add_argument("--processes", type=positive, default=1, metavar="N", help="processes, one a GPU (1)")
    parser.add_argument("--batch", type=positive, metavar="B", help="clips encoded at once (by their size)")
    parser.add_argument("--device", help="such as cuda:1 or cpu (a GPU for each process, where there are any)")
    parser.add_argument("--dtype", choices=("bf16", "fp16", "fp32"), default="bf16", help="what is stored (bf16)")


def run(args: argparse.Namespace) -> int:
    """Encodes; returns 0."""
    from tqdm import tqdm

    from icve.data.encode import shards_to_encode, texts_to_encode
    from icve.data.shard_index import SetFiles
    from icve.data.shard_layout import MEDIA

    files = SetFiles(str(args.set))
    files.description()
    tables = (files.table(f"media/{b}/{name}.parquet", MEDIA, ["clip_id"]) for b, name in shards_to_encode(files))
    totals = {"texts": len(texts_to_encode(files)), "clips": sum(map(len, tables))}
    if not any(totals.values()):
        print(f"{args.set} is encoded already.")
        return 0
    bars = {
        name: tqdm(total=total, desc=name, unit=name[:-1], position=i) for i, (name, total) in enumerate(totals.items())
    }
    try:
        encode = _encode if args.processes == 1 else _encode_in_processes
        encode(args, lambda name, count: bars[name].update(count) and None)
    finally:
        for bar in bars.values():
            bar.close()
    left = len(shards_to_encode(files))
    print(f"{args.set}: " + (f"{left} shards are left to other processes." if left else "encoded."))
    return 0


def _encode(args: argparse.Namespace, report: Report, index: int = 0) -> None:
    """The work of one process; the first one encodes the texts, too."""
    import torch
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    from icve.data.encode import encode_clips, encode_texts
    from icve.models.convolutions import use_fast_convolutions
    from icve.pipelines.edit import InContextVideoEditPipeline
    from icve.pipelines.models import device_and_dtype

    for library in (diffusers_logging, transformers_logging):
        library.disable_progress_bar()  # the command has its own
    device, dtype = device_and_dtype()
    if args.device is not None:
        device = args.device
    elif device == "cuda":
        device = f"cuda:{index % torch.cuda.device_count()}"
    text = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    left_out: dict[str, Any] = dict.fromkeys(("transformer", *(text if index else ())))
    pipe = InContextVideoEditPipeline.from_pretrained(args.model, torch_dtype=dtype, **left_out).to(device)
    use_fast_convolutions(pipe.vae)
    if not index:
        encode_texts(args.set, pipe, args.model, dtype=args.dtype, progress=lambda n: report("texts", n))
        pipe.register_modules(**dict.fromkeys(text))  # their memory is the clips' now
    encode_clips(args.set, pipe, args.model, dtype=args.dtype, batch=args.batch, progress=lambda n: report("clips", n))


def _encode_in_processes(args: argparse.Namespace, report: Report) -> None:
    """Starts the processes and passes on what they report; whatever stops one of them stops all.

    Raises:
        InputError: as a process did, or one was killed.
    """
    context = multiprocessing.get_context("spawn")
    reports: Any = context.Queue()
    workers = [
        context.Process(target=_work, args=(args, index, reports), daemon=True) for index in range(args.processes)
    ]
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: Ctrl-C is the parent's, which stops them
    for worker in workers:
        worker.start()
    signal.signal(signal.SIGINT, previous)
    try:
        while any(worker.is_alive() for worker in workers) or not reports.empty():
            try:
                name, value = reports.get(timeout=POLL)
            except queue.Empty:
                name, value = "", None
            if name == "refused":
                raise InputError(value)
            if name == "failed":
                raise RuntimeError(value)
            if name:
                report(name, value)
            if any(worker.exitcode for worker in workers):
                raise InputError("A process was killed, often for lack of memory; use fewer --processes.")
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()


def _work(args: argparse.Namespace, index: int, reports: Any) -> None:
    import torch

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // args.processes))
    parent = multiprocessing.parent_process()

    def report(name: str, count: int) -> None:
        if parent is not None and not parent.is_alive():
            raise KeyboardInterrupt
        reports.put((name, count))

    try:
        _encode(args, report, index)
    except InputError as error:
        reports.put(("refused", str(error)))
    except KeyboardInterrupt:
        return
    except Exception:
        reports.put(("failed", traceback.format_exc()))
