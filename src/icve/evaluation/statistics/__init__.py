"""Statistics of scores: intervals, paired comparison of editors, agreement of judges. Seeded: a report repeats."""

from icve.evaluation.statistics.agreement import cohen_kappa, krippendorff_alpha
from icve.evaluation.statistics.bootstrap import Interval, bootstrap_interval
from icve.evaluation.statistics.paired import Comparison, WinRate, paired_comparison, win_rate
from icve.evaluation.statistics.wilson import wilson

__all__ = [
    "Comparison",
    "Interval",
    "WinRate",
    "bootstrap_interval",
    "cohen_kappa",
    "krippendorff_alpha",
    "paired_comparison",
    "wilson",
    "win_rate",
]
