"""Where sources are worked on: processes of this machine, or the workers of a Ray cluster."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from icve.data.curation.config import CurationConfig
from icve.data.curation.parcels import Parcels
from icve.data.curation.records import Parcel, Source, StageCount
from icve.data.curation.source_run import Done, Job, do, name
from icve.data.worker_pool import Failure, WorkerPool
from icve.errors import InputError

GIB = 2**30
RAY_WINDOW = 50_000


def run_pool(jobs: Iterable[Job], config: CurationConfig) -> Iterator[Done]:
    """Works on sources in processes of this machine; each one's parcel is on disk when its `Done` comes.

    A file that kills its process twice, or holds it up for too long, is quarantined.
    """
    workers = config.workers or len(os.sched_getaffinity(0))
    pool: WorkerPool[Job, Job, Done] = WorkerPool(
        workers, do, seconds=config.read.timeout, name=name, memory=int(config.read.memory * GIB)
    )
    with pool:
        for job, result in pool.run((job, job) for job in jobs):
            yield quarantine(job, result) if isinstance(result, Failure) else result


def quarantine(job: Job, failure: Failure) -> Done:
    """Writes the parcel of a source that its worker could not."""
    count = StageCount("read", entered=1)
    count.drop("quarantined")
    parcel = Parcel(job.source, quarantined=failure.reason, stages=[count])
    Parcels(job.folder / "parcels").write(parcel)
    return Done(0, True)


class RayWorker:
    """A worker of a Ray cluster. The decoding is in a process of its own, whose death is not the worker's."""

    def __init__(self, folder: str, place: str, config: dict[str, Any]) -> None:
        os.chdir(place)  # what relative paths are relative to
        self.folder, self.config = Path(folder), CurationConfig.model_validate(config | {"workers": 1})

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ray Data's form of a batch: columns in, columns out."""
        rows = zip(batch["number"].tolist(), batch["uri"].tolist(), batch["caption"].tolist(), strict=True)
        jobs = [Job(Source(number, uri, caption or None), self.folder, self.config) for number, uri, caption in rows]
        done = list(run_pool(jobs, self.config))
        import numpy as np

        return {
            "pairs": np.array([each.pairs for each in done]),
            "quarantined": np.array([each.quarantined for each in done]),
        }


def run_ray(jobs: Iterable[Job], config: CurationConfig) -> Iterator[Done]:
    """Works on sources with Ray Data: on the cluster that RAY_ADDRESS names, else on this machine.

    All workers must see the folder of the run and the files under the same paths.
    """
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise InputError("executor=ray needs Ray, which is not installed: pip install 'icve[ray]'.") from error
    ray.init(ignore_reinit_error=True, log_to_driver=False, configure_logging=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    workers = config.workers or int(ray.cluster_resources().get("CPU", 1))
    pending = iter(jobs)
    # So many at a time, that the list of a million does not stand in memory.
    while listed := list(islice(pending, RAY_WINDOW)):
        folder = str(listed[0].folder.resolve())
        rows = [{"number": j.source.number, "uri": j.source.uri, "caption": j.source.caption or ""} for j in listed]
        dataset = ray.data.from_items(rows, override_num_blocks=min(len(rows), 16 * workers)).map_batches(
            RayWorker,
            fn_constructor_args=(folder, str(Path.cwd()), config.model_dump(mode="json")),
            batch_size=4,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=1,
        )
        for row in dataset.iter_rows():
            yield Done(int(row["pairs"]), bool(row["quarantined"]))


EXECUTORS: dict[str, Callable[[Iterable[Job], CurationConfig], Iterator[Done]]] = {"pool": run_pool, "ray": run_ray}
