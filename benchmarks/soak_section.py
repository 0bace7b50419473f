# ruff: noqa: E501   (the sentences of a document)
"""What docs/reliability.md says of the soak, and its plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import plot
from tests.soak import plan
from tests.soak.judge import MB_PER_OPENING, slope, warm
from tests.soak.plan import WARM_UP

A_DAY = 20                  # messages that a session sends on a day, to say how long a life the run is
NAMES = {"rss_mb": "resident memory, MB", "threads": "threads", "other_fds": "descriptors, without session files'",
         "session_fds": "descriptors of session files", "fds": "all descriptors", "children": "child processes",
         "db_mb": "gateway.db, MB", "wal_mb": "its log, MB"}
PARTS = {"private_mb": "private memory (C library, Python, stacks), MB", "malloc_mb": "of it given out by the C library, MB",
         "core_sqlite_mb": "of that the core's SQLite, with its page caches, MB", "malloc_free_mb": "kept free by the C library, MB",
         "objects": "Python objects", "go_mb": "Go's heap, MB", "files_mb": "mapped files, MB",
         "sessions_mb": "session files on disk, MB"}


def draw(run: dict[str, Any], file: Path) -> None:
    minutes = [sample["at"] / 60 for sample in run["samples"]]
    plot.lines(file, f"{run['ran_minutes']:g} minutes of soak", "minutes", "MB, threads, descriptors", {
        title: [(at, sample[name]) for at, sample in zip(minutes, run["samples"], strict=True) if name in sample]
        for name, title in (("rss_mb", "MB"), ("threads", "threads"), ("fds", "descriptors"), ("db_mb", "gateway.db, MB"))})


def section(run: dict[str, Any] | None, reopening: dict[str, Any] | None, before: dict[str, Any] | None, where: str) -> str:
    if run is None:
        return "## Soak\n\nNo soak was run: what there is of that is the curve above.\n"
    done, pairings = run["done"], run["pairings"]
    sent = sum(count for name, count in done.items() if name.startswith("sent "))
    arrived = sum(count for name, count in done.items() if name.startswith("inbound "))
    broken = sum(done.get(name, 0) for name in ("drop", "close", "stream-503", "stream-500", "malformed", "mute"))
    cpu = sum(run["cpu_seconds"].values()) / max(1.0, run["ran_minutes"] * 60) * 100
    out = [
        "## Soak\n", f"`{run['command']}` — {where}\n",
        "" if run["complete"] else f"**Cut short:** it ran for {run['ran_minutes']:g} of {run['planned_minutes']:g} minutes, and what "
        "follows counts for those.\n",
        f"A life in {run['ran_minutes']:g} minutes: {run['sessions']} sessions sent {sent} messages with receipts (at {A_DAY} a day each "
        f"that is {sent / run['sessions'] / A_DAY:.0f} days) and got {arrived}; {pairings_line(pairings, done)}; {broken} connections were broken "
        f"one by one, all of them {done.get('cut', 0)} times at once and {done.get('refused', 0)} times for a while; sessions were linked anew "
        f"{done.get('relink', 0) + done.get('logout', 0)} times ({done.get('logout', 0)} of them after a log-out) and stopped and started "
        f"{done.get('reconnect', 0)} times; {run['visitors'].get('readers', 0)} readers of event streams came and went, "
        f"{done.get('webhook deliveries', 0)} webhook deliveries were made. The store kept things for 10 to 15 minutes, so that its "
        "size settles within the run, and what the daemon does hourly it did every minute (forgetting) or five (looking for cyclic garbage).\n",
        f"The state folder was on a memory disk, and the run was kept slow on purpose ({cpu:.0f} % of one core, sandbox and all), so that "
        "other work can go on beside it. It says nothing of speed. While it warmed up every link was cut often (see Threads); a code that waits "
        "begins anew with each cut, so none ran out then.\n",
        "**Findings: " + ("none.**\n" if not run["findings"] else f"{len(run['findings'])}.**\n\n" + "\n".join(
            f"- {text}" for text in run["findings"]) + "\n"),
        *([run["remarks"] + "\n"] if run.get("remarks") else []),
        _table(run["trends"]), "![](plots/soak.svg)\n",
        f"Judged after a warm-up of {WARM_UP:.0%} of the run, over {run.get('samples_taken', len(run['samples']))} looks from outside. It is a "
        "finding when the median of the last fifth is above that of the first by more than is allowed and the slope (Theil-Sen: the "
        "median over pairs) goes up too. Peaks do not count, and neither does what shrinks. "
        f"Of memory {MB_PER_OPENING:g} MB is allowed for each time the core opens a session ({_openings(run)} in what is judged).\n",
        "Where memory is, as medians in the same way:\n",
        _parts(run["trends"]), _whence(run, reopening)]
    if reopening:
        out += ["### Reopening a session\n", _reopening(reopening, before)]
    out += ["### Threads\n", _threads(run)]
    return "\n".join(part for part in out if part)


def pairings_line(pairings: dict[str, int], done: dict[str, int]) -> str:
    told = ", ".join(f"{pairings[name]} {text}" for name, text in (
        ("deleted", "deleted at the first code"), ("code", "with a pairing code"), ("left-a-while", "deleted later"),
        ("run-out", "left until the codes ran out"), ("asked-again", "asked for once more after that"), ("left-for-good", "never deleted"),
    ) if pairings.get(name))
    return f"{done.get('pairing', 0)} pairings were abandoned ({told})"


def _openings(run: dict[str, Any]) -> int:
    after = [sample["openings"] for sample in run["samples"] if sample["at"] >= run["samples"][-1]["at"] * WARM_UP]
    return int(after[-1] - after[0])


def _table(trends: dict[str, dict[str, Any]]) -> str:
    rows = [f"| {title} | {it['first']:g} | {it['last']:g} | {it['grew']:+g} | {it['slope_per_hour']:+g} | {it['most']:g} | {it['allowed']:g} "
            f"| {'**grows**' if it['grew'] > it['allowed'] and it['slope_per_hour'] > 0 else 'flat'} |"
            for name, title in NAMES.items() if (it := trends.get(name))]
    return "| | first fifth | last fifth | grew | an hour | most | allowed | |\n|---|---|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n"


def _parts(trends: dict[str, dict[str, Any]]) -> str:
    rows = [f"| {title} | {it['first']:g} | {it['last']:g} | {it['grew']:+g} | {it['slope_per_hour']:+g} |"
            for name, title in PARTS.items() if (it := trends.get(name))]
    return "| | first fifth | last fifth | grew | an hour |\n|---|---|---|---|---|\n" + "\n".join(rows) + "\n"


def _whence(run: dict[str, Any], reopening: dict[str, Any] | None) -> str:
    """Whether it slows down, and what of the growth is known."""
    points = [(sample["at"], sample["rss_mb"]) for sample in warm(run["samples"])]
    halves = [slope(half) * 3600 for half in (points[:len(points) // 2], points[len(points) // 2:])]
    told = f"Resident memory went {halves[0]:+.1f} MB an hour in the first half of what is judged and {halves[1]:+.1f} in the second. "
    if reopening:
        each = reopening["per_opening"]["rss_mb"]
        told += f"{_openings(run)} openings at {each:.2f} MB (below) are {_openings(run) * each:.1f} MB. "
    sent = sum(count for name, count in run["done"].items() if name.startswith("sent "))
    days = sent / max(0.1, run["ran_minutes"]) * 60 / run["sessions"] / A_DAY
    return told + f"An hour of the run has the messages of {days:.0f} days of sessions that send {A_DAY} a day.\n"


def _reopening(now: dict[str, Any], before: dict[str, Any] | None) -> str:
    """Per opening."""
    runs = [("", now)] if before is None else [("before", before), ("now", now)]
    rows = [f"| {name or 'each'} | {it['per_opening']['fds']:.2f} | {it['per_opening']['threads']:.2f} | {it['per_opening']['rss_mb']:.2f} | "
            f"{it['per_opening']['private_mb']:.2f} | {it['per_opening']['go_mb']:.2f} | {it['times']} | {it['machine']['commit']} |"
            for name, it in runs]
    fds = f"{before['per_opening']['fds']:.1f} descriptors, " if before else "descriptors, "
    return (
        f"A connection that breaks is mended inside the core and costs nothing. A *reopening* (`disconnect` and `connect`, linking anew, the "
        f"end of a ban) makes a new client in the core, which never closes the SQLite connections of the old one: {fds}locks and page "
        "caches stayed until the process ended. Now the gateway parts a stopped session's connections from their file once they are at "
        "rest (`gateway/link/sealing/leftover.py`). What is left is the core's: the connections' handles and some goroutines. "
        f"`{now['command']}`, one session opened and closed with nothing else going on:\n\n"
        "| | descriptors | threads | MB | of it private | of it Go's | openings | commit |\n|---|---|---|---|---|---|---|---|\n"
        + "\n".join(rows)
        + f"\n\nSo a thousand reopenings cost about {now['per_opening']['rss_mb'] * 1000:.0f} MB until the next restart; "
          "`wagateway_core_openings` counts them.\n")


def _threads(run: dict[str, Any]) -> str:
    lowest: dict[int, float] = {}
    for sample in run["samples"]:
        minute = int(sample["at"] / 60)
        lowest[minute] = min(sample["threads"], lowest.get(minute, sample["threads"]))
    settled = min(lowest, key=lambda minute: abs(minute - run["ran_minutes"] * WARM_UP))
    seconds = run["planned_minutes"] * 60
    cuts = [it.at for it in plan.draw(run["seed"], run["sessions"], seconds) if it.kind in ("cut", "refused")]
    early = sum(at < seconds * WARM_UP for at in cuts)
    return (
        "The daemon's own threads are one for each session, two for its database, small pools, and one for each call of the core while it "
        "lasts: those are the peaks. The others are those of Go's runtime, inside the core: each of its looks into a session's file has a "
        "thread while it lasts, a new one where more look at once than ever before, and what was made is kept. That happens when every "
        "session comes back at once: in earlier runs the number grew in the seconds after a cut of all links, and stood still between. "
        f"So {early} of this run's {len(cuts)} cuts lie in its warm-up. The "
        f"number, as the lowest of each minute, was {lowest[min(lowest)]:g} at the start, {lowest[settled]:g} after the warm-up and "
        f"{lowest[max(lowest)]:g} at the end.\n")
