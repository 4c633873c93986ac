"""Worker processes of the loader: how they start, and what they do with signals."""

import atexit
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import forkserver, resource_tracker
from typing import Any

import cv2

STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def worker_options(prefetch: int, modules: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Arguments of a DataLoader with workers; leave the context when it is no longer read.

    Workers are not forked from the training process, whose CUDA, threads and open files (of decoders, of object
    stores) do not survive that, but from a server that has done nothing but the imports.

    Ctrl-C, and the SIGTERM of a scheduler, reach every process of a job. The training decides when to stop, and may
    need a few batches more; so the server and the workers ignore both until the context is left.

    Args:
        prefetch: batches that each worker reads ahead.
        modules: what workers import; the server does so once for all of them.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(sorted(modules))
    resource_tracker.ensure_running()  # the server needs it, and starting it would let the signals through again
    held_back = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # the server inherits this
    forkserver.ensure_running()
    signal.pthread_sigmask(signal.SIG_SETMASK, held_back)
    left = context.Event()
    atexit.register(left.set)  # Python's last act is to send its children a SIGTERM and to wait for them
    try:
        yield {
            "multiprocessing_context": context,
            "prefetch_factor": prefetch,
            "worker_init_fn": partial(_start_worker, left),
        }
    finally:
        left.set()
        atexit.unregister(left.set)


def worker_died(error: Exception) -> bool:
    """Whether an error of a DataLoader says that a worker is gone. A worker's own errors begin with "Caught"."""
    if isinstance(error, RuntimeError):
        return str(error).startswith("DataLoader worker (pid")
    return not str(error).startswith("Caught")  # what it had sent could not be fetched from it any more


def _start_worker(left: Any, _number: int) -> None:
    def stop(*_: Any) -> None:
        if left.is_set():
            os._exit(0)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)  # the cores are for the other workers


def _end_with_parent() -> None:
    """torch's workers end with the process that they were forked from, here the server, which waits for them."""
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(0)
