"""What an evaluation found, in memory and as a folder: scores.parquet (every score), cases.jsonl and summary.json.

scores.parquet is long: benchmark, editor, case, category, scorer, figure, value, missing. A row has a value or says in
`missing` why it has none.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from icve.errors import InputError
from icve.evaluation.cases import Case
from icve.evaluation.edits import Edits
from icve.evaluation.run import Run
from icve.evaluation.scorers import Figure
from icve.video.files import replacing, write_errors

SCORES, CASES, SUMMARY = "scores.parquet", "cases.jsonl", "summary.json"
ROWS_AT_ONCE = 50_000


@dataclass(frozen=True)
class Shown:
    """A case as a report shows it. `content` is a hash of it; `edited` are the clips by editor."""

    id: str
    category: str
    instruction: str
    content: str
    source: Path
    target: Path | None
    mask: Path | None
    edited: Mapping[str, Path]


@dataclass
class Results:
    """Scores of the same cases by one or more editors.

    Attributes:
        settings: by editor, what its clips depend on.
        figures: every number that was asked for, with the scorer that gives it.
        values: by editor and figure: values by case id.
        missing: by editor and figure: why there is no value, by case id.
        remarks: by editor and case id, what scorers say of a clip ("the circle is still there").
        notes: what a reader of the report must know ("3 cases were left out …").
    """

    benchmark: str
    title: str
    cases: list[Shown]
    settings: dict[str, dict[str, Any]]
    figures: dict[str, tuple[Figure, str]]
    values: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)
    missing: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    remarks: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def editors(self) -> list[str]:
        """Their names, in the order in which they were given."""
        return list(self.settings)

    @property
    def categories(self) -> list[str]:
        """In the order of the cases."""
        return list(dict.fromkeys(case.category for case in self.cases))

    def add(self, editor: str, case: str, figure: str, value: float | None, reason: str | None) -> None:
        """Adds a score, or why there is none."""
        if value is not None:
            self.values.setdefault((editor, figure), {})[case] = value
        else:
            self.missing.setdefault((editor, figure), {})[case] = reason or "The scorer gave no value."

    def is_rate(self, figure: str) -> bool:
        """Whether a figure says right or wrong: its mean is a success rate, and gets a rate's interval."""
        known = self.figures[figure][0]
        values = {value for editor in self.editors for value in self.values.get((editor, figure), {}).values()}
        return (known.low, known.high) == (0, 1) and bool(values) and values <= {0.0, 1.0}

    def column(self, editor: str, figure: str, category: str | None = None) -> dict[str, float]:
        """An editor's values of a figure by case id, of one category or of all."""
        values = self.values.get((editor, figure), {})
        chosen = (case.id for case in self.cases if category in (None, case.category))
        return {case_id: values[case_id] for case_id in chosen if case_id in values}

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of scores.parquet."""
        for case in self.cases:
            for editor in self.editors:
                for name, (_, scorer) in self.figures.items():
                    yield {
                        "benchmark": self.benchmark,
                        "editor": editor,
                        "case": case.id,
                        "category": case.category,
                        "scorer": scorer,
                        "figure": name,
                        "value": self.values.get((editor, name), {}).get(case.id),
                        "missing": self.missing.get((editor, name), {}).get(case.id),
                    }


def collect(
    run: Run, benchmark: str, title: str, settings: Mapping[str, dict[str, Any]], figures: Sequence[str] = ()
) -> Results:
    """The results of a run. `figures` are kept of all that its scorers give; all when empty."""
    wanted = {
        figure.name: (figure, scorer.name)
        for scorer in run.scorers
        for figure in scorer.figures
        if not figures or figure.name in figures
    }
    cases = [_shown(case, run.contents.get(case.id, ""), run.editors) for case in run.cases]
    results = Results(benchmark, title, cases, {editor.name: settings[editor.name] for editor in run.editors}, wanted)
    for case in run.cases:
        for editor in run.editors:
            for name, (_, scorer) in wanted.items():
                given = run.outcomes[editor.name, case.id, scorer]
                if isinstance(given, str):
                    results.add(editor.name, case.id, name, None, given)
                else:
                    results.add(editor.name, case.id, name, given.get(name), None)
            said = [run.outcomes[editor.name, case.id, scorer.name] for scorer in run.scorers]
            if remarks := [reason for each in said if not isinstance(each, str) for reason in each.reasons]:
                results.remarks[editor.name, case.id] = list(dict.fromkeys(remarks))
    return results


def _shown(case: Case, content: str, editors: Sequence[Edits]) -> Shown:
    edited = {editor.name: editor.files[case.id] for editor in editors if case.id in editor.files}
    return Shown(case.id, case.category, case.instruction, content, case.source, case.target, case.mask, edited)


def write_results(results: Results, folder: Path, summary: Mapping[str, Any]) -> None:
    """Writes the three files. Paths below the folder are kept relative to it, so that it may be moved."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    texts = ("benchmark", "editor", "case", "category", "scorer", "figure")
    schema = pa.schema([*((name, pa.string()) for name in texts), ("value", pa.float64()), ("missing", pa.string())])
    with write_errors(folder):
        with replacing(folder / SCORES) as partial, ParquetWriter(partial, schema) as writer:
            batch: list[dict[str, Any]] = []
            for row in results.rows():
                batch.append(row)
                if len(batch) == ROWS_AT_ONCE:
                    writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))
                    batch = []
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema))
        with replacing(folder / CASES) as partial, partial.open("w", encoding="utf-8") as file:
            for case in results.cases:
                said = {editor: results.remarks.get((editor, case.id), []) for editor in results.editors}
                file.write(json.dumps(_case_row(case, folder) | {"remarks": said}) + "\n")
        head = {
            "benchmark": results.benchmark,
            "title": results.title,
            "cases": len(results.cases),
            "settings": results.settings,
            "notes": results.notes,
            "figures": {
                name: {**asdict(figure), "scorer": scorer} for name, (figure, scorer) in results.figures.items()
            },
        }
        with replacing(folder / SUMMARY) as partial:
            partial.write_text(json.dumps(head | dict(summary), indent=1), encoding="utf-8")


def _case_row(case: Shown, folder: Path) -> dict[str, Any]:
    def kept(path: Path | None) -> str | None:
        if path is None:
            return None
        full = path.resolve()
        return str(full.relative_to(folder.resolve()) if full.is_relative_to(folder.resolve()) else full)

    files = {"source": kept(case.source), "target": kept(case.target), "mask": kept(case.mask)}
    edited = {editor: kept(path) for editor, path in case.edited.items()}
    texts = {"id": case.id, "category": case.category, "instruction": case.instruction, "content": case.content}
    return texts | files | {"edited": edited}


def read_results(folder: Path) -> Results:
    """The results in a folder that `write_results` wrote.

    Raises:
        InputError: the folder holds none, or one of its files is damaged.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    if not (folder / SUMMARY).is_file():
        raise InputError(f"{folder} holds no finished evaluation (no {SUMMARY}); name the OUT of `icve evaluate`.")
    try:
        head = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        rows = [json.loads(line) for line in (folder / CASES).read_text(encoding="utf-8").splitlines()]
        cases = [_case(row, folder) for row in rows]
        figures = {}
        for name, known in head["figures"].items():
            scorer = known.pop("scorer")
            figures[name] = (Figure(**known), scorer)
        results = Results(head["benchmark"], head["title"], cases, head["settings"], figures, notes=head["notes"])
        results.remarks = {(editor, row["id"]): said for row in rows for editor, said in row["remarks"].items() if said}
        for batch in ParquetFile(folder / SCORES).iter_batches(
            columns=["editor", "case", "figure", "value", "missing"]
        ):
            for row in batch.to_pylist():
                results.add(row["editor"], row["case"], row["figure"], row["value"], row["missing"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArrowException) as error:
        raise InputError(f"The evaluation in {folder} is damaged ({type(error).__name__}); run it again.") from error
    return results


def _case(row: dict[str, Any], folder: Path) -> Shown:
    target, mask = (None if row[name] is None else folder / row[name] for name in ("target", "mask"))
    edited = {editor: folder / path for editor, path in row["edited"].items()}
    texts = (row["id"], row["category"], row["instruction"], row["content"])
    return Shown(*texts, folder / row["source"], target, mask, edited)
