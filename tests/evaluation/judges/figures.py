"""Prints how an honest judge and three liars look in the figures: `python -m tests.evaluation.judges.figures`."""

import tempfile
from pathlib import Path

from icve.evaluation.judges import RUBRICS, JudgeScorer, agreement
from icve.evaluation.judges.signs import signs, spread
from tests.evaluation.judges.endpoint import Benchmark, first_always, flatterer, honest, lots
from tests.evaluation.judges.test_liars import CASES, FIGURE, A, compared, judging, known, ratings

MANNERS = {"honest": honest, "always 5": flatterer, "always the first": first_always, "lots": lots}


def main() -> None:
    """Prints a Markdown table."""
    folder = Path(tempfile.mkdtemp())
    bench = Benchmark(folder)
    truth = ratings(honest, bench, folder, "truth")
    print("| judge | commonest score | alpha with an honest one | of its votes | ranked | consistent | first | signs |")
    print("|---|---|---|---|---|---|---|---|")
    for number, (title, manner) in enumerate(MANNERS.items()):
        name = f"judge{number}"
        scores = ratings(manner, bench, folder, name)
        shape = spread([*scores.values()])
        agreed = agreement.between({name: scores, "truth": truth})
        with judging(manner, folder, f"{name}v", votes=3, temperature=0.7) as one:
            scorer = JudgeScorer(one, RUBRICS["openve"])
            own = agreement.among_votes(
                [[vote[f"{FIGURE}@{name}v"] for vote in scorer.score(*bench.clips(n, A[n])).votes] for n in CASES]
            )
        placed, pairs = known(manner, bench, folder, name), compared(manner, bench, folder, name)
        found = signs(name, spread=shape, votes=own, agreement=agreed, pairwise=pairs, controls=placed)
        print(
            f"| {title} | {shape.commonest:g} ({shape.share:.0%}) | {agreed.alpha:.2f} | {own:.2f} "
            f"| {placed.ranked.mean:.0%} | {pairs.consistent:.0%} | {pairs.first:.0%} | {len(found)} |"
        )


if __name__ == "__main__":
    main()
