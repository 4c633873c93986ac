"""Runs a function on several processes that talk over gloo, for tests of what is distributed.

    def summed(number):  # at the top of a test module: it is found by its name
        value = torch.tensor([float(number + dist.get_rank())])
        dist.all_reduce(value)
        return value

    assert run(summed, 2, 10) == [torch.tensor([21.0])] * 2

The processes see what torchrun would give them (RANK, WORLD_SIZE, LOCAL_RANK, …), with the process group ready.
They are forked from a server that has imported the heavy modules, so a call takes a second or two, the first one more.
"""

import multiprocessing
import os
import pickle
import signal
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["torch", "torch.distributed.fsdp", "icve.pipelines.edit", "tests.tiny"])


def run(function: Callable[..., Any], world_size: int, *args: Any, timeout: float = 120) -> list[Any]:
    """What `function(*args)` returns on each rank, in order. Arguments and results are pickled.

    Raises `AssertionError` with the traceback of the first rank that failed, or when `timeout` seconds are over.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = pickle.dumps((function, args))
        processes, receivers = [], []
        for rank in range(world_size):
            receiver, sender = _context.Pipe(duplex=False)
            process = _context.Process(
                target=_work, args=(work, rank, world_size, folder, timeout, sender), daemon=True
            )
            process.start()
            sender.close()
            processes.append(process)
            receivers.append(receiver)
        try:
            return _collect(receivers, timeout)
        finally:
            for process in processes:
                process.join(timeout=5)
                if process.is_alive():  # it waits for a rank that failed
                    process.kill()
                    process.join()


def _collect(receivers: list[Connection], timeout: float) -> list[Any]:
    results: dict[int, Any] = {}
    while len(results) < len(receivers):
        waiting = [receiver for rank, receiver in enumerate(receivers) if rank not in results]
        ready = wait(waiting, timeout)
        if not ready:
            raise AssertionError(f"no answer within {timeout:.0f} s")
        for receiver in ready:
            rank = receivers.index(receiver)
            try:
                succeeded, result = pickle.loads(receiver.recv_bytes())
            except EOFError:
                raise AssertionError(f"rank {rank} ended without an answer") from None
            if not succeeded:
                raise AssertionError(f"rank {rank} failed:\n{result}")
            results[rank] = result
    return [results[rank] for rank in range(len(receivers))]


def _work(work: bytes, rank: int, world_size: int, folder: str, timeout: float, sender: Connection) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    # The server may be one that a loader's test has started, which holds these back for its workers.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(world_size), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(world_size)
    )
    try:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{Path(folder) / 'store'}",
            rank=rank,
            world_size=world_size,
            timeout=timedelta(seconds=timeout),
        )
        function, args = pickle.loads(work)
        answer = pickle.dumps((True, function(*args)))
        if dist.is_initialized():  # the function may have ended the group
            dist.barrier()  # no rank leaves while another may still talk to it
    except BaseException:
        answer = pickle.dumps((False, traceback.format_exc()))
    sender.send_bytes(answer)
    if dist.is_initialized():
        dist.destroy_process_group()
