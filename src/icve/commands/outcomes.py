"""What `icve edit` shows: progress while it works, a table or JSON at the end, a contact sheet; nothing heavy."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from icve.commands.jobs import Job

if TYPE_CHECKING:
    from icve.pipelines.editor import EditReport


@dataclass(frozen=True)
class Outcome:
    """What became of a job: "done" with a report, "kept" (its output existed), or "failed", with the reason."""

    job: Job
    status: str
    report: "EditReport | None" = None
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The row of --json."""
        job = {"video": self.job.video, "instruction": self.job.instruction, "output": self.job.output}
        row: dict[str, Any] = {key: str(value) for key, value in job.items()} | {"status": self.status}
        if self.report is None:
            return row | {"reason": self.reason}
        names = ("frames", "windows", "window", "size", "seed", "seconds", "lost")
        return row | {name: getattr(self.report, name) for name in names}

    def as_line(self) -> str:
        """The row of the table."""
        if self.report is None:
            return f"{self.status:8}{self.job.video}  {self.job.instruction!r}: {self.reason}"
        plural = "" if self.report.frames == 1 else "s"
        return f"{self.status:8}{self.job.output}  {self.report.frames} frame{plural}, {self.report.seconds:.1f} s"


def print_outcomes(outcomes: list[Outcome], *, as_json: bool) -> None:
    """The report on stdout; warnings about damaged input and the count of failures on stderr."""
    failed = sum(outcome.status == "failed" for outcome in outcomes)
    if as_json:
        report = {"edits": [outcome.as_dict() for outcome in outcomes], "failed": failed}
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        for outcome in outcomes:
            print(outcome.as_line())
    for outcome in outcomes:
        if outcome.report is not None and outcome.report.lost:
            print(f"icve: warning: {outcome.report.lost}", file=sys.stderr)
    if failed:
        print(f"icve: {failed} of {len(outcomes)} edits failed", file=sys.stderr)


def draw_contact_sheet(outcomes: list[Outcome], path: Path) -> None:
    """Each source once, its edits under it, labelled with their instructions; nothing when nothing was edited."""
    from icve.video import contact_sheet

    rows = []
    above: Path | None = None
    for outcome in outcomes:
        if outcome.report is None:
            continue
        if outcome.job.video != above:
            above = outcome.job.video
            rows.append((f"source: {above.name}", outcome.report.samples.source))
        rows.append((outcome.job.instruction, outcome.report.samples.edit))
    if rows:
        contact_sheet(rows, path)


class ProgressLine:
    """Frames done and the time left on stderr: one line that changes on a terminal, else one line at the start."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.live = sys.stderr.isatty()
        self.began = time.monotonic()

    def __enter__(self) -> Self:
        if not self.live:
            print(self.title, file=sys.stderr, flush=True)
        return self

    def __call__(self, done: float, total: int | None) -> None:
        """`done` of `total` frames (None: unknown), fractions of a window's frames for its steps."""
        if not self.live:
            return
        text = f"{self.title}: {int(done)} frames"
        if total is not None and done > 0:
            left = max(0.0, (time.monotonic() - self.began) * (total / done - 1))
            text = f"{self.title}: {int(done)} of {total} frames, {left:.0f} s left"
        print(f"\r{text}\x1b[K", end="", file=sys.stderr, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
