# ruff: noqa: E501   (the sentences of two documents)
"""Writes docs/benchmarks.md and docs/reliability.md from what the runs left in docs/runs.

    python -m benchmarks.report [--fire FILE] [--soak FILE]

The files given are copied to docs/runs first, without what only a rerun needs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks import plot, soak_section, voice
from benchmarks.measuring import PLOTS, RESULTS, ROOT


def not_tested() -> str:
    soak = read("soak")
    longest = f"{soak['ran_minutes']:.0f} minutes" if soak else "a quarter of an hour"
    return NOT_TESTED + f"- Other systems than Linux on x86-64, other disks than this one's, and more than {longest} at a stretch.\n"


NOT_TESTED = """## What was not tested

- Real phones and the real WhatsApp. Everything here runs against the sandbox, on loopback: its latencies, limits and
  bans are its own. What WhatsApp does to an account that sends too much cannot be shown here.
- Power failure of the machine: `kill -9` ends the process, not the disk. The sealed store has power-loss tests of its own
  (`tests/link/sealed/power_loss.py`).
"""


def where(run: dict[str, Any]) -> str:
    m = run["machine"]
    return (f"{m['cpu']}, {m['cores']} cores, {m['memory_gb']} GB, Linux {m['kernel']}; Python {m['python']}, neonize {m['neonize']}, "
            f"PyAV {m['av']}, uvicorn {m['uvicorn']}, SQLite {m['sqlite']}, OpenSSL {m['openssl']}; commit {m['commit']}; "
            f"load of the machine at the end of the run: {m['load']}")


def read(name: str) -> dict[str, Any] | None:
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else None       # type: ignore[no-any-return]


def table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head),
                      *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)]) + "\n"


def verdict(value: float, target: float) -> str:
    return "met" if value <= target else "**missed**"


def benchmarks() -> str:
    out = ["# Speed\n", "Written by `python -m benchmarks` from the runs in [`runs/`](runs). Each section names its command, its "
           "machine and that machine's load: with a load above the number of cores, times are the scheduler's as much as ours.\n"]
    if run := read("linking"):
        scan = run["scan_to_connected"]
        out += ["## Linking\n", f"`{run['command']}` — {where(run)}\n", table(("", "n", "median ms", "max ms", "target"), [
            ("scan to connected", scan["n"], scan["median_ms"], scan["max_ms"], f"1000: {verdict(scan['median_ms'], 1000)}"),
            ("asked to the first code", run["asked_to_first_code"]["n"], run["asked_to_first_code"]["median_ms"],
             run["asked_to_first_code"]["max_ms"], "")]), "![](plots/linking.svg)\n"]
    if run := read("sending"):
        rows = [(name.removeprefix("accept "), part["asked_per_second"], part["answered_per_second"], part["p50_ms"], part["p99_ms"],
                 part["overhead"]["p50_ms"], f"{part['overhead']['p99_ms']} (25: {verdict(part['overhead']['p99_ms'], 25)})",
                 part.get("accepted_per_second", "")) for name, part in run.items() if name.startswith("accept ")]
        send, lag = run["send"], run["loop_lag_while_4_encode"]
        out += ["## Accepting and sending\n", f"`{run['command']}` — {where(run)}\n",
                table(("what", "asked/s", "answered/s", "p50 ms", "p99 ms", "without the codec: p50", "p99 (target)", "at most/s"), rows),
                "A file is looked at whole and converted before its 202, so that what is no audio is refused there: how many a second "
                "that can be is the codec's and the cores' matter. *At most* is what eight clients got that asked again at once; the "
                "rates of voice notes are half of that. *All sent at once*: the pace is off, so that every message is also encrypted, "
                "sent, acknowledged and received by the sandbox on the same two cores while the next ones come.\n",
                "![](plots/accepting.svg)\n",
                table(("one text to its acknowledgement", "median ms", "p99 ms"), [
                    ("bare neonize", send["bare_neonize"]["median_ms"], send["bare_neonize"]["p99_ms"]),
                    ("the gateway, after its 202", send["after_202"]["median_ms"], send["after_202"]["p99_ms"])]),
                f"Added by the gateway: {send['added_median_ms']} ms (target 10: {verdict(send['added_median_ms'], 10)}).\n",
                f"Event loop while four voice notes are encoded: a 2 ms timer is late by {lag['p50_ms']} ms (p50), "
                f"{lag['p99_ms']} ms (p99; target 20: {verdict(lag['p99_ms'], 20)}), {lag['max_ms']} ms at most.\n",
                "![](plots/sending.svg)\n"]
    if run := read("sessions"):
        rows = [(count, part["listening_after_seconds"], part["all_connected_after_seconds"], part["rss_mb"], part["threads"],
                 part["fds"], f"{part['per_session']['rss_mb']} MB, {part['per_session']['threads']}, {part['per_session']['fds']}",
                 part["linking_all_seconds"]) for count, part in run["counts"].items()]
        out += ["## Many sessions\n", f"`{run['command']}` — {where(run)}\n", table(
            ("sessions", "listening after s", "all connected after s", "MB", "threads", "fds", "per session", "linking all took s"), rows),
            *(f"Targets for 200: all connected within 20 s ({verdict(part['all_connected_after_seconds'], 20)}), below 400 MB "
              f"({verdict(part['rss_mb'], 400)}).\n" for count, part in run["counts"].items() if count == "200"),
            "![](plots/cold_start.svg)\n", "![](plots/memory.svg)\n"]
    if run := read("streams"):
        rows = [(readers, part["fan_out"]["p50_ms"], part["fan_out"]["p99_ms"], part["from_whatsapp"]["p99_ms"],
                 part["request_beside"]["p99_ms"], part["cpu_ms_per_event"], part["cpu_us_per_frame"],
                 f"250: {verdict(part['fan_out']['p99_ms'], 250)}" if readers == "5000" else "")
                for readers, part in run.items() if readers.isdigit()]
        out += ["## Event streams\n", f"`{run['command']}` — {where(run)}\n", table(
            ("readers", "p50 ms", "p99 ms", "p99 from WhatsApp", "p99 of a request beside", "CPU ms/event", "CPU µs/frame", "target p99"), rows),
            "Delays are after the first reader; the readers' own processes share the machine. *A request beside*: `/healthz`, asked "
            "all the while by somebody else.\n",
            f"Replay from number 0: {run['replay']['events_per_second']} events a second ({run['replay']['mb_per_second']} MB/s), "
            "each opened with its seal.\n", "![](plots/fan_out.svg)\n"]
    if run := read("voice"):
        out += voice_notes(run)
    if run := read("sealed_store"):
        rows = [(name, part["schema_ms"], part["writes_seconds"], part["median_us"], part["p99_us"],
                 *(f"×{part['writes_seconds'] / run['set_ups'][other]['writes_seconds']:.2f}" for other in ("plain WAL/FULL", "stock")))
                for name, part in run["set_ups"].items()]
        out += ["## The sealed store\n", f"`{run['command']}` — {where(run)}\n", table(
            ("", "schema ms", f"{run['writes']} commits, s", "median µs", "p99 µs", "to plain", "to stock"), rows),
            "*Stock* is what neonize does by itself: a rollback journal, `synchronous=NORMAL`, no seal. *Plain* is our journal mode "
            "without the seal. See [security.md](security.md).\n", "![](plots/sealed_store.svg)\n"]
    out.append(not_tested())
    return "\n".join(out)


def voice_notes(run: dict[str, Any]) -> list[str]:
    """Ratios are to the common way, of the same column."""
    columns = [name for name in run if name.endswith("MP3")]
    rows = [(name, *(cell for column in columns for cell in (
        f"{run[column][name]['wall_ms']:.0f} ms", f"{run[column][name]['cpu_ms']:.0f} ms",
        f"×{run[column][name]['wall_ms'] / run[column][voice.COMMON]['wall_ms']:.2f}"))) for name in run[columns[0]]]
    first = {name: part["wall_ms"] for name, part in run[columns[0]].items()}
    ours = first[voice.OURS]
    targets = [("whole note, to ffmpeg", ours / first[voice.COMMON], 0.45), ("to encoding alone", ours / first[voice.ENCODING], 1.3),
               ("already native, to ffmpeg", first[voice.NATIVE_INPUT] / first[voice.COMMON], 0.1)]
    if voice.BAILEYS in first:
        targets.append(("whole note, to Baileys' path", ours / first[voice.BAILEYS], 1 / 2.7))
    return ["## Voice notes\n", f"`{run['command']}`, medians of {run['rounds']} rounds — {where(run)}; {run['ffmpeg']}; node {run['node']}\n",
            table(("", *(f"{column}: {what}" for column in columns for what in ("wall", "CPU", "to the common way"))), rows),
            table((f"{columns[0]}", "ratio", "target"), [(what, f"{ratio:.2f}", f"{limit:.2f}: {verdict(ratio, limit)}")
                                                        for what, ratio, limit in targets]),
            f"To ffmpeg without `-application voip`, which then is CELT and cheaper: "
            f"×{ours / first[voice.PLAIN]:.2f}. See [voice.md](voice.md).\n", "![](plots/voice.svg)\n"]


def _grouped(found: list[str]) -> str:
    """One of each kind, and how many there are."""
    kinds: dict[str, list[str]] = {}
    for text in found:
        kinds.setdefault(" ".join(text.split()[:2]), []).append(text)
    return "\n".join(f"- {len(texts)} × {texts[0][:160]}…" for texts in kinds.values()) + "\n"


def _left(run: dict[str, Any]) -> str:
    out = ""
    if count := run.get("left_at_whatsapp"):
        out += f" {count} more wait at WhatsApp for sessions that had come to an end."
    if lost := run.get("receipts_lost"):
        out += f" {len(lost)} of ours {'is' if len(lost) == 1 else 'are'} told as sent for good: the receipts were lost, or wait, in the same ways."
    if count := len(run.get("not_repeated", ())):
        out += f" {count} of ours stayed sent: the recipient asked for {'it' if count == 1 else 'them'} again while the disk was full (see below)."
    return out


def reliability() -> str:
    out = ["# Reliability\n", "Written by `python -m benchmarks.report` from the runs in [`runs/`](runs).\n"]
    if run := read("fire"):
        found = run["findings"]
        out += [
            "## Under fire\n", f"`python -m tests.fire --sessions {run['sessions']} --minutes {run['minutes']:g} --seed {run['seed']}` — "
            f"{where(run)}\n",
            f"{run['sessions']} sessions talked for {run['minutes']:g} minutes while {sum(run['struck'].values())} troubles came over them. "
            f"{run['accepted']} messages were accepted, {run['written']} were written by contacts, {run['events']} events were journalled; "
            f"the daemon was started {run['starts']} times ({run['failed_starts']} starts failed, on a full disk, and were repeated). "
            "Afterwards every message was compared with what the recipients' phones had decrypted, every event with what three "
            "readers and a webhook had got, and every file was searched for the sessions' keys.\n",
            "**Findings: " + ("none.**\n" if not found else f"{len(found)}.**\n\n" + _grouped(found)),
            *([run["remarks"] + "\n"] if run.get("remarks") else []),
            f"Messages that contacts wrote and that were lost: {len(run['lost_to_kills'])} to `kill -9` between the core's reading them "
            f"and our commit, {len(run['told_unreadable'])} told as `undecryptable` because the disk was full (see below)."
            f"{_left(run)}\n",
            table(("trouble", "times", "met something"), [(kind, times, run.get("hit", {}).get(kind, ""))
                                                           for kind, times in sorted(run["struck"].items())]),
            "*Met something*: of a fault that waits for its occasion (a login, an upload, an acknowledgement), how often there was one "
            "while it lasted.\n",
            table(("", "at first", "at the end"), [(name, run["baseline"][name], run["final"].get(name, "")) for name in run["baseline"]]),
            "![](plots/fire.svg)\n"]
    soak = read("soak")
    out += [soak_section.section(soak, read("reopening"), read("reopening-before"), where(soak) if soak else "")]
    out += [
        "## How it is checked\n",
        "`tests/fire/test_fire.py` is the same with seven sessions and half a minute of troubles, one after the other, all kinds but the "
        "one that takes minutes; it is part of every run of the tests. A failing run prints its seed, `FIRE_SEED=N` repeats the plan "
        "(what hits when, who says what); the interleaving is the machine's.\n",
        "- every accepted message: sent ones were readable at the recipient, failed ones were not, unless "
        "`may_have_been_delivered` says so; nothing arrived twice, nothing that nobody owns up to; each chat in order;\n"
        "- every session in the state it should be, the others working;\n"
        "- the journal without a hole, each message beginning with its acceptance and never going backwards;\n"
        "- readers that came back with `Last-Event-ID` saw every event once; the webhook got every event, each chat in order;\n"
        "- both kinds of database whole; no key, body or table name readable in the state folder, in what kills had left of it, or in "
        "the log;\n- every message a contact wrote told once, or accounted for by the second: `tests/fire/arrivals.py` compares when the core "
        "acknowledged it with when the daemon was killed, when the disk was full, and what came after it and was stored;\n"
        "- nothing in the daemon's log that a program says which did not expect it;\n"
        "- threads, descriptors and memory back at where they were.\n",
        "## Known limits\n",
        "- WhatsApp's core acknowledges what arrives before the gateway can have stored it. A `kill -9` in between loses that "
        "message, or that receipt of a message of ours; they are counted above. A graceful stop does not, "
        "unless the disk is full and stays it for twelve seconds more.\n"
        "- While the disk is full the core cannot encrypt a message once more for a recipient that could not read it and asked again: it "
        "stays `sent`, which is true, and is not `delivered`.\n"
        "- While the disk is full the core cannot store the keys of what arrives, asks the sender five times within a fraction of a "
        "second, and gives up. The message is told as a warning `undecryptable` and stays lost.\n"
        "- A log-out that the daemon could not note down before it was killed is told afterwards as `unknown_logout`.\n"
        "- While connections are being dialled the core cannot be stopped: a graceful stop may take 12 seconds.\n",
        "## Hostile input\n",
        "What strangers can do, what holds against it, and which test says so: [security.md](security.md#strangers). `tests/hostile` and "
        "`tests/fire/test_http.py` run against a running daemon; their long forms (10,000 connections, 100,000 inputs a parser) are asked "
        "for by `-m long`.\n",
        not_tested()]
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fire", type=Path)
    parser.add_argument("--soak", type=Path)
    parser.add_argument("--remarks", default="", help="what somebody who looked at the findings says of them")
    given = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in ("fire", "soak"):
        if (file := getattr(given, name)) is not None:
            run = json.loads(file.read_text())
            run.pop("plan", None)
            run["remarks"] = given.remarks
            run["samples_taken"] = len(run.get("samples", []))
            run["samples"] = run.get("samples", [])[::6 if name == "soak" else 5]      # every sixth of the soak's has it all
            (RESULTS / f"{name}.json").write_text(json.dumps(run) + "\n")
    if run := read("fire"):
        plot.lines(PLOTS / "fire.svg", "The daemon under fire (a drop to nothing is a kill)", "seconds", "MB, threads, fds", {
            title: [(sample["at"], sample[name]) for sample in run["samples"]]
            for name, title in (("rss_mb", "MB"), ("threads", "threads"), ("fds", "descriptors"))})
    if run := read("soak"):
        soak_section.draw(run, PLOTS / "soak.svg")
    (ROOT / "docs" / "reliability.md").write_text(reliability())
    (ROOT / "docs" / "benchmarks.md").write_text(benchmarks())


if __name__ == "__main__":
    main()
