"""All benchmarks by name."""

from icve.errors import InputError
from icve.evaluation.benchmarks.benchmark import Benchmark
from icve.evaluation.benchmarks.covebench import CoVEBench
from icve.evaluation.benchmarks.editverse import EditVerseBench
from icve.evaluation.benchmarks.five import FiVEBench
from icve.evaluation.benchmarks.ivebench import IVEBench
from icve.evaluation.benchmarks.openve import OpenVEBench
from icve.evaluation.benchmarks.reco import ReCoBench
from icve.evaluation.benchmarks.videocof import VideoCoFBench
from icve.evaluation.benchmarks.world import World

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        World(),
        OpenVEBench(),
        EditVerseBench(),
        IVEBench(),
        FiVEBench(),
        CoVEBench(),
        ReCoBench(),
        VideoCoFBench(),
    )
}


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of this name.

    Raises:
        InputError: there is none; names those that there are.
    """
    if name not in BENCHMARKS:
        raise InputError(f"There is no benchmark {name[:60]!r}; there are {', '.join(BENCHMARKS)}.")
    return BENCHMARKS[name]
