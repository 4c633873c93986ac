"""Where a run's figures go: a progress bar, log.jsonl, TensorBoard, Weights & Biases."""

import json
import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import psutil
import torch
from tqdm import tqdm

from icve.data.samples import Batch
from icve.errors import InputError
from icve.training.config import LogConfig
from icve.training.run_folder import RunFolder, writing


class Work(NamedTuple):
    """What a rank does in a step: tokens that go through the transformer, and floating-point operations."""

    tokens: int
    flops: float


class Log:
    """Figures of the steps, averaged over `config.every` of them.

    Args:
        work: a batch's work on this rank, for tokens/s and the share of the peak; None: neither is shown.
        peak: floating-point operations a second that the device can do.
        ranks: all of them are taken to work alike.
    """

    def __init__(
        self,
        config: LogConfig,
        folder: RunFolder,
        *,
        ranks: int = 1,
        work: Callable[[Batch], Work] | None = None,
        peak: float = math.nan,
    ) -> None:
        self.config = config
        self.folder = folder
        self.ranks = ranks
        self.work = work
        self.peak = peak
        self._recent: list[dict[str, float]] = []
        self._bar: tqdm[Any] | None = None
        self._board = _tensorboard(config, folder)
        self._wandb = _wandb(config, folder)

    def start(self, step: int, total: int) -> None:
        """The run begins at this step."""
        if self.folder.writes and sys.stderr.isatty():
            self._bar = tqdm(initial=step, total=total, unit="step", dynamic_ncols=True, smoothing=0.05)
        self._total = total

    def step(
        self, step: int, batch: Batch, figures: dict[str, float], *, samples: int, bad: int, seconds: float
    ) -> None:
        """`step` steps are done, `samples` samples over all ranks, `bad` of which could not be read, in so many
        `seconds` of training in all.

        Args:
            figures: this step's; "seconds" and "waited" (for data) are times, the others are averaged.
        """
        if self.work is not None:
            done = self.work(batch)
            figures = figures | {"tokens": done.tokens, "flops": done.flops}
        self._recent.append(figures)
        if self._bar is not None:
            self._bar.update()
        if step % self.config.every == 0 or step == self._total:
            self._write(step, samples, bad, seconds)

    def _write(self, step: int, samples: int, bad: int, seconds: float) -> None:
        recent, self._recent = self._recent, []
        means = {
            key: _mean([row[key] for row in recent if key in row])
            for key in dict.fromkeys(k for r in recent for k in r)
        }
        spent = sum(row["seconds"] for row in recent)
        row: dict[str, Any] = {"step": step, "samples": samples, "bad": bad, "hours": round(seconds / 3600, 4)}
        row |= {key: value for key, value in means.items() if key not in ("seconds", "waited", "tokens", "flops")}
        row |= {"steps_per_s": len(recent) / spent, "waiting": sum(r["waited"] for r in recent) / spent}
        if self.work is not None:
            row["tokens_per_s"] = self.ranks * sum(r["tokens"] for r in recent) / spent
            row["mfu"] = sum(r["flops"] for r in recent) / spent / self.peak
        row["memory_gb"] = memory() / 1e9
        row = {key: _round(value) for key, value in row.items()}
        self.folder.add("log.jsonl", row)
        self.scalars(step, {key: value for key, value in row.items() if key not in ("step", "samples")})
        self._show(step, row)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Send figures to TensorBoard and Weights & Biases."""
        if self._board is not None:
            with writing(self.folder.path / "tensorboard"):
                for key, value in values.items():
                    self._board.add_scalar(key, value, step)
        if self._wandb is not None:
            self._wandb.log(values, step=step)

    def _show(self, step: int, row: dict[str, Any]) -> None:
        if not self.folder.writes:
            return
        shown = {"loss": _format(row.get("loss"), ".4f"), "norm": _format(row["norm"], ".3g")}
        if self.work is not None:
            shown |= {"tokens/s": f"{row['tokens_per_s']:,.0f}", "mfu": f"{row['mfu']:.0%}"}
        shown |= {"data": f"{row['waiting']:.0%}", "GB": f"{row['memory_gb']:.1f}"}
        if self._bar is not None:
            self._bar.set_postfix(shown)
            return
        left = (self._total - step) / row["steps_per_s"]
        text = "  ".join(f"{key} {value}" for key, value in shown.items())
        print(
            f"step {step}/{self._total}  {text}  {row['steps_per_s']:.3g} steps/s  {duration(left)} left",
            file=sys.stderr,
            flush=True,
        )

    def note(self, text: str) -> None:
        """A line for the user that does not break the progress bar."""
        if self.folder.writes:
            tqdm.write(text, file=sys.stderr)

    def close(self) -> None:
        """Nothing more comes."""
        if self._bar is not None:
            self._bar.close()
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def memory() -> int:
    """Peak bytes on the GPU, or resident bytes of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return psutil.Process().memory_info().rss


def duration(seconds: float) -> str:
    """1 h 05 min, 12 min, 40 s."""
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"


def _mean(values: list[float]) -> float:
    """Of the finite ones: a step whose loss was not finite is skipped, and says so elsewhere."""
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def _format(value: float | None, how: str) -> str:
    return "not finite" if value is None else format(value, how)


def _round(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return float(f"{value:.7g}") if math.isfinite(value) else None  # JSON has no NaN


def _tensorboard(config: LogConfig, folder: RunFolder) -> Any:
    if not config.tensorboard or not folder.writes:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError(
            "log.tensorboard needs TensorBoard: pip install 'icve[train]', or set log.tensorboard=false."
        ) from None
    with writing(folder.path / "tensorboard"):
        return SummaryWriter(str(folder.path / "tensorboard"))


def _wandb(config: LogConfig, folder: RunFolder) -> Any:
    if config.wandb is None or not folder.writes:
        return None
    try:
        import wandb
    except ImportError:
        raise InputError(f"log.wandb: {config.wandb} needs Weights & Biases: pip install wandb.") from None
    name = folder.path.name
    return wandb.init(
        project=config.wandb, name=name, id=name, resume="allow", config=json.loads(json.dumps(folder.config))
    )
