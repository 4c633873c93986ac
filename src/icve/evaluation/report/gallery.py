"""The cases that a report shows: some of every category, each with its clips and its figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from icve.evaluation.report.media import Part, Stack, stack_clips
from icve.evaluation.report.numbers import number
from icve.evaluation.results import Results, Shown
from icve.evaluation.scorers import Figure
from icve.page import data_uri, text


@dataclass
class Gallery:
    """Articles for at most `items` cases; clips that come after `max_bytes` are left out, and the page says so."""

    results: Results
    items: int
    max_bytes: int

    def chosen(self) -> list[Shown]:
        """The first cases of each category in turn, in the order of the cases."""
        by_category: Mapping[str, list[Shown]] = {name: [] for name in self.results.categories}
        for case in self.results.cases:
            by_category[case.category].append(case)
        turns = [case for turn in zip_longest(*by_category.values()) for case in turn if case is not None]
        ids = {case.id for case in turns[: self.items]}
        return [case for case in self.results.cases if case.id in ids]

    def html(self) -> str:
        """The articles."""
        left = self.max_bytes
        articles = []
        for case in self.chosen():
            stack = self._stack(case) if left > 0 else None
            uri = "" if stack is None else data_uri("video/mp4", stack.data)
            left -= len(uri)
            if left < 0:
                stack, left = None, 0
            reason = "The page would become too large." if left <= 0 else "None of its clips can be read."
            articles.append(self._article(case, stack, uri, reason))
        return "\n".join(articles)

    def _stack(self, case: Shown) -> Stack | None:
        return stack_clips({name: path for name, path in self._files(case).items() if path is not None})

    def _files(self, case: Shown) -> dict[str, Path | None]:
        """What is shown of a case; editors' names cannot be taken for the others', which have no "edit: " before."""
        edited = {f"edit: {name}": case.edited.get(name) for name in self.results.editors}
        known = {"true edit": case.target, "mask": case.mask}
        return {"source": case.source, **edited, **{name: path for name, path in known.items() if path}}

    def _article(self, case: Shown, stack: Stack | None, uri: str, reason: str) -> str:
        if stack is None:
            clips = f'<p class="missing">{text(reason)}</p>'
        else:
            video = (
                f'<video src="{uri}" data-frames="{stack.frames}" data-rate="{stack.rate:.6g}" muted playsinline '
                'preload="auto" aria-hidden="true" tabindex="-1"></video>'
            )
            figures = "".join(self._figure(name, case, stack) for name in self._files(case))
            cut = f'<p class="soft">The first {stack.frames} frames.</p>' if stack.cut else ""
            clips = f'<div class="clips">{video}{figures}</div>{cut}'
        return (
            f'<article data-category="{text(case.category)}"><h3><bdi>{text(case.instruction)}</bdi></h3>'
            f'<p class="tags"><span>{text(case.category, 60)}</span> <bdi>{text(case.id)}</bdi></p>'
            f"{clips}{self._figures(case)}{self._remarks(case)}</article>"
        )

    def _figure(self, name: str, case: Shown, stack: Stack) -> str:
        part = stack.parts.get(name)
        caption = f"<figcaption><bdi>{text(name.removeprefix('edit: '))}</bdi></figcaption>"
        if part is None:
            editor = name.removeprefix("edit: ")
            reason = stack.failed.get(name) or self._reason(editor, case.id)
            return f'<figure><p class="missing">{text(reason)}</p>{caption}</figure>'
        return f"<figure>{_canvas(name, part)}{caption}</figure>"

    def _reason(self, editor: str, case: str) -> str:
        reasons = (self.results.missing.get((editor, figure), {}).get(case) for figure in self.results.figures)
        return next((reason for reason in reasons if reason), "There is no edited clip.")

    def _figures(self, case: Shown) -> str:
        """The case's scores, figures down and editors across; figures that nobody has are left out."""
        editors = self.results.editors
        lines = []
        for name, (figure, _) in self.results.figures.items():
            values = [self.results.values.get((editor, name), {}).get(case.id) for editor in editors]
            if any(value is not None for value in values):
                rate = self.results.is_rate(name)
                cells = "".join(f"<td>{_value(figure, v, rate)}</td>" for v in values)
                lines.append(f'<tr><th scope="row">{text(name, 60)}</th>{cells}</tr>')
        if not lines:
            return ""
        head = "".join(f'<th scope="col"><bdi>{text(editor, 60)}</bdi></th>' for editor in editors)
        return (
            f'<details{" open" if len(lines) <= 6 else ""}><summary>Scores</summary><div class="scroll"><table>'
            f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div></details>"
        )

    def _remarks(self, case: Shown) -> str:
        """What scorers say of the clips."""
        said = [
            f"<li><b><bdi>{text(editor, 60)}</bdi></b> {text('; '.join(remarks))}</li>"
            for editor in self.results.editors
            if (remarks := self.results.remarks.get((editor, case.id)))
        ]
        return f'<ul class="remarks">{"".join(said)}</ul>' if said else ""


def _value(figure: Figure, value: float | None, rate: bool) -> str:
    if value is None:
        return ""
    return ("yes" if value else "no") if rate else text(number(figure, value))


def _canvas(name: str, part: Part) -> str:
    kind = "edit" if name.startswith("edit: ") else name
    return (
        f'<canvas width="{part.width}" height="{part.height}" data-top="{part.top}" data-kind="{text(kind)}" '
        f'role="img" aria-label="{text(name)}"></canvas>'
    )
