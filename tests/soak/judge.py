"""Whether something grows. Judged after a warm-up, robustly: a slope through medians (Theil-Sen), and the medians of the first
and the last fifth, which must agree that it does.

Memory may grow by what is stated here and no more; threads and descriptors not at all but for a few that come and go. What the
core keeps each time it opens a session (`python -m tests.soak.reopening`) is allowed for as often as it did.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.soak.plan import WARM_UP

MOST_POINTS = 300               # for the slope, which looks at every pair
MB_PER_OPENING = 0.1            # the core's: handles of connections, goroutines


@dataclass(frozen=True, slots=True)
class Bound:
    """Growth from the first fifth to the last, in the series' unit, that is no finding."""

    series: str
    slack: float
    share: float = 0.0          # of the first fifth's median, if that is more
    per_opening: float = 0.0    # and this much for each opening in between


BOUNDS = (Bound("rss_mb", 8.0, per_opening=MB_PER_OPENING), Bound("threads", 4.0), Bound("other_fds", 8.0),
          Bound("session_fds", 6.0), Bound("fds", 12.0),
          Bound("children", 3.0), Bound("db_mb", 3.0, 0.10), Bound("wal_mb", 5.0))
SHOWN = ("private_mb", "malloc_mb", "malloc_free_mb", "core_sqlite_mb", "objects", "go_mb", "files_mb", "sessions_mb")


@dataclass(frozen=True, slots=True)
class Trend:
    first: float                # median of the first fifth
    last: float                 # and of the last
    slope_per_hour: float
    most: float
    allowed: float              # growth that is no finding

    @property
    def grew(self) -> float:
        return self.last - self.first

    @property
    def is_finding(self) -> bool:
        return self.grew > self.allowed and self.slope_per_hour > 0


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Theil-Sen: the median of the slopes between all pairs."""
    thin = points[::max(1, len(points) // MOST_POINTS)]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.combinations(thin, 2) if b[0] > a[0]]
    return statistics.median(slopes) if slopes else 0.0


def trend(points: Sequence[tuple[float, float]], bound: Bound, openings: float) -> Trend:
    """Of (seconds, value), warm already."""
    values = [value for _, value in points]
    fifth = max(1, len(values) // 5)
    first, last = statistics.median(values[:fifth]), statistics.median(values[-fifth:])
    return Trend(round(first, 2), round(last, 2), round(slope(points) * 3600, 3), max(values),
                 round(max(bound.slack, bound.share * first) + bound.per_opening * openings, 2))


def warm(samples: Sequence[dict[str, float]]) -> list[dict[str, float]]:
    end = samples[-1]["at"] if samples else 0.0
    return [sample for sample in samples if sample["at"] >= end * WARM_UP]


def judge(samples: Sequence[dict[str, float]]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Trends by series, and a sentence for each that is a finding."""
    after = warm(samples)
    trends: dict[str, dict[str, Any]] = {}
    findings: list[str] = []
    openings = after[-1]["openings"] - after[0]["openings"] if after else 0.0
    for bound in BOUNDS:
        points = [(sample["at"], sample[bound.series]) for sample in after if bound.series in sample]
        if len(points) < 10:
            continue
        found = trend(points, bound, openings)
        trends[bound.series] = asdict(found) | {"grew": round(found.grew, 2)}
        if found.is_finding:
            findings.append(f"{bound.series} grew from {found.first:g} to {found.last:g} after the warm-up "
                            f"({found.slope_per_hour:+g} an hour; {found.allowed:g} is allowed)")
    for name in SHOWN:                                                      # for whoever looks for a cause
        points = [(sample["at"], sample[name]) for sample in after if name in sample]
        if len(points) >= 10:
            found = trend(points, Bound(name, 0), openings)
            trends[name] = asdict(found) | {"grew": round(found.grew, 2)}
    return trends, findings
