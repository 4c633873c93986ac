"""What a worker process does with a pair of files: makes its clips, or says why it cannot."""

from av.error import FFmpegError

from icve.data.pairs.decoding import Job, PairClips, UnusablePairError, make_clips
from icve.data.worker_pool import Ask, Failure


def attempt(job: Job, needed: Ask) -> PairClips | Failure:
    """`make_clips`, its errors as results."""
    try:
        return make_clips(job, needed)
    except UnusablePairError as error:
        return Failure(error.kind, error.reason)
    except MemoryError:
        return Failure("out of memory", f"There is not enough memory for {job.source} and {job.target}.")
    except (FFmpegError, ValueError) as error:  # a file so odd that a library below refuses it
        return Failure("unreadable video", f"{job.source} or {job.target} cannot be read ({error}).")


def files(job: Job) -> str:
    """How sentences call a pair's files."""
    return f"{job.source} and {job.target}"
