"""What every training run shares: steps in phases, learning rate, log, checkpoints, resuming, the final folder."""

import json
import math
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from icve.errors import InputError
from icve.training.card import forget_paths, read_history, write_card
from icve.training.config import Phase, RunConfig
from icve.training.precision import MasterOptimizer

LOG_EVERY = 20


class Run:
    """One training run in one folder: `config.json`, `log.jsonl`, `checkpoint.safetensors` and, at the end, `model/`.

    Batches are functions of (seed, step), so a resumed run sees the data that an uninterrupted one would.
    """

    def __init__(self, config: RunConfig, optimizer: MasterOptimizer) -> None:
        self.config = config
        self.optimizer = optimizer
        self.folder = config.output
        self.folder.mkdir(parents=True, exist_ok=True)
        self.first_step = 0
        self.seconds = 0.0
        self.stopping = False
        self._recent: list[dict[str, float]] = []
        self._resume()
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)

    @property
    def described(self) -> dict[str, Any]:
        """The config as plain data, without what says where files lie."""
        config: dict[str, Any] = json.loads(self.config.model_dump_json(exclude={"output", "start", "autoencoder"}))
        return config

    def _stop(self, *_: Any) -> None:
        if self.stopping:
            raise KeyboardInterrupt
        self.stopping = True

    def _resume(self) -> None:
        described = self.described
        path = self.folder / "config.json"
        checkpoint = self.folder / "checkpoint.safetensors"
        if checkpoint.exists():
            old = json.loads(path.read_text())
            different = [k for k in described | old if described.get(k) != old.get(k)]
            if different:
                raise InputError(
                    f"{self.folder} holds a run whose config differs in {', '.join(sorted(different))}: "
                    "give another output folder, or delete this one."
                )
            tensors = load_file(checkpoint)
            self.first_step = int(tensors.pop("next_step"))
            self.seconds = float(tensors.pop("seconds"))
            self.optimizer.load_state_tensors(tensors)
        path.write_text(json.dumps(described, indent=1))

    def steps(self, phases: list[Phase]) -> Iterator[tuple[int, Phase]]:
        """The steps still to do. A first SIGTERM or Ctrl-C finishes the step, saves and exits with code 0."""
        schedule = [phase for phase in phases for _ in range(phase.steps)]
        self._mark = time.perf_counter()
        for step in range(self.first_step, len(schedule)):
            yield step, schedule[step]
            now = time.perf_counter()
            self.seconds += now - self._mark
            self._mark = now
            if (step + 1) % LOG_EVERY == 0:
                self._write_log(step + 1, len(schedule))
            if self.stopping:
                self.save(step)
                print(
                    f"stopped after step {step + 1}, saved in {self.folder}; the same command goes on",
                    file=sys.stderr,
                )
                raise SystemExit(0)

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then a cosine down to `final_lr` x lr."""
        c = self.config
        done = min(1.0, step / max(1, c.total_steps))
        cosine = c.final_lr + (1 - c.final_lr) * 0.5 * (1 + math.cos(math.pi * done))
        return c.lr * min(1.0, (step + 1) / c.warmup) * cosine

    def log(self, **values: float) -> None:
        """Values of this step; their mean over LOG_EVERY steps goes to the log."""
        self._recent.append(values)

    def _write_log(self, done: int, total: int) -> None:
        keys = self._recent[-1].keys() if self._recent else []
        means = {k: sum(r[k] for r in self._recent if k in r) / sum(k in r for r in self._recent) for k in keys}
        rate = done / max(self.seconds, 1e-9)
        row = {"step": done, "seconds": round(self.seconds, 1), **{k: round(v, 5) for k, v in means.items()}}
        with (self.folder / "log.jsonl").open("a") as f:
            f.write(json.dumps(row) + "\n")
        left = (total - done) / rate
        text = "  ".join(f"{k} {v:.4g}" for k, v in means.items())
        print(f"step {done}/{total}  {text}  {left / 60:.0f} min left", file=sys.stderr, flush=True)
        self._recent.clear()

    def checkpoint_due(self, step: int) -> bool:
        """Whether to save after this step."""
        return (step + 1) % self.config.checkpoint_every == 0

    def save(self, step: int) -> None:
        """Write the checkpoint beside, then rename."""
        tensors = self.optimizer.state_tensors()
        tensors["next_step"] = torch.tensor(step + 1)
        tensors["seconds"] = torch.tensor(self.seconds, dtype=torch.float64)
        beside = self.folder / "checkpoint.safetensors.tmp"
        save_file({k: v.contiguous() for k, v in tensors.items()}, beside)
        beside.rename(self.folder / "checkpoint.safetensors")

    def finish(self, model: Any, figures: dict[str, Any], behind: Iterable[Path | None]) -> Path:
        """Save the model's folder with its card; `behind` are the model folders that this run started from."""
        self.save(self.config.total_steps - 1)
        folder = self.folder / "model"
        model.save_pretrained(folder)
        forget_paths(folder)
        stage = {"name": self.folder.name, "seconds": round(self.seconds), "config": self.described, "figures": figures}
        write_card(folder, [*read_history(behind), stage])
        print(f"{folder}: {figures}", file=sys.stderr)
        return folder
