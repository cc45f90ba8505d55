"""A soak's report, as a page and as lines."""

from __future__ import annotations

import shlex
import statistics
from collections.abc import Sequence

from edge_har.bench import machine, versions
from tests.soak.judge import BEGINS_S, ENDS_S, RECOVERY_S, RECOVERY_SHARE
from tests.soak.plan import IDLE, PAGE
from tests.soak.run import (
    EARLY_S,
    EARLY_SHORT_S,
    MAX_GAP_S,
    RSS_FRACTION,
    RSS_MB,
    RSS_SHORT_MB,
    Soaked,
)
from tests.soak.scenes import LABELS, RATE_HZ, SIZES_WH
from tests.soak.stage import CAMERAS, FILE_BYTES, FILE_KB, IDLE_CONNECTIONS, SPOOL_KB

MEANS = {
    "killed": "a camera's process is killed and started again on its port",
    "stalled": "a camera's process is stopped (SIGSTOP), connections stay open",
    "size changes": "pictures change between {sizes}, every two seconds",
    "bytes damaged": "bytes of the stream are changed, lost, doubled, cut off",
    "broker stopped": "mosquitto is ended and started again on its port",
    "broker stalled": "mosquitto is stopped (SIGSTOP)",
    "web server killed": "the webhook's server is killed and started again",
    "web server stalled": "the webhook's server is stopped (SIGSTOP)",
    "spool's disk full": "no block is left on the disk of all spools",
    "file's disk full": "no block is left on the disk of the JSON lines and of standard error",
    "all destinations away": "broker stopped, web server killed, both disks full, at once",
}


def page(soaked: Soaked, command: Sequence[str]) -> str:
    """The page `docs/figures/soak.md`."""
    here = machine()
    kinds = [camera.kind for camera in CAMERAS]
    size = "x".join(map(str, SIZES_WH[0]))
    broken = soaked.problems()
    result = f"**not kept: {'; '.join(broken)}**" if broken else "every limit below was kept."
    lines = [
        "# Reliability: an hour in which everything else fails",
        "",
        (
            f"`edge-har run` followed {len(CAMERAS)} cameras on loopback ({kinds.count('mjpeg')} motion JPEG "
            f"over HTTP with digest logins ({', '.join(c.variant for c in CAMERAS if c.kind == 'mjpeg')}), "
            f"{kinds.count('rtsp')} H.264 over RTSP from GStreamer, "
            f"{sum(c.variant == 'interlaced' for c in CAMERAS)} of them interlaced; "
            f"{size}, {RATE_HZ} frames a second) for "
            f"{soaked.length_s / 60:.0f} minutes and emitted what it saw to a file of JSON lines, a "
            "mosquitto and a web server, while another device of the same host name published to that "
            "mosquitto and "
            "cameras, receivers and disks failed by a plan. `make soak` does it again; a form of three "
            "minutes with every kind of "
            "fault is one of the tests."
        ),
        "",
        "- command: `" + shlex.join(command) + "`",
        f"- commit: {soaked.commit}",
        f"- machine: {here.cpu}, {here.cores} cores, {here.architecture}",
        "- versions: " + ", ".join(f"{name} {number}" for name, number in versions().items()),
        "",
        f"Result: {result}",
        "",
        "## Expected events, and what came",
        "",
        (
            f"Each camera shows a synthetic person who does {', '.join(LABELS[:-1])} and {LABELS[-1]} in "
            "turns and keeps still in "
            "between; the drawings were chosen for being recognised in files, at every phase of the model's "
            "ticks, so the model's "
            "errors stay out of it ([accuracy.md](accuracy.md) has those). What it shows follows from the "
            "clock alone, and it writes down what it sent. So the list of events is made "
            "without the runtime: a play that was sent whole (no "
            f"{MAX_GAP_S:g} s without a picture), and that no fault of its camera touched, must be one event "
            "with its label, "
            f"that begins {-BEGINS_S[0]:g} s before to {BEGINS_S[1]:g} s after the person does and ends "
            f"{-ENDS_S[0]:g} s before "
            f"to {ENDS_S[1]:g} s after (the model looks at 1.5 s, smoothed over .5 s). A fault of d seconds "
            "counts from its "
            f"beginning until {RECOVERY_S:g} + {RECOVERY_SHARE:g} d seconds after its end: by then the "
            "source must be back."
        ),
        "",
        *_table(
            ("Plays", "Count"),
            [
                ("in all", len(soaked.plays)),
                ("touched by a fault: nothing is expected", soaked.disturbed),
                ("not sent whole by a camera, without a fault (a busy machine)", len(soaked.unshown)),
                ("not seen in a file either: nothing is expected", soaked.unknown),
                ("**events expected**", f"**{len(soaked.expected)}**"),
                ("**found**, right label, source and time", f"**{len(soaked.found.right)}**"),
                (f"absent (limit: {100 * soaked.missing_share:.0f} %)", len(soaked.found.missing)),
                ("found, with another event of the label in the same play", soaked.found.more),
                ("events of another label in these plays", len(soaked.found.other)),
            ],
        ),
        "",
        _lateness(soaked),
        "",
        *_table(("Camera", "Sends", "Events expected", "Found"), _cameras(soaked)),
        "",
        "## What arrived",
        "",
        (
            f"{len(soaked.lines)} lines were emitted (`start`, `update`, `end`, `source_lost`, "
            "`source_back`; "
            f"{len({line['id'] for line in soaked.lines})} ids, which count up without a gap). Those that "
            "disturbed plays gave "
            "count as well. Each receiver is a process of its own that writes a line down before it "
            "acknowledges it."
        ),
        "",
        *_table(
            ("Receiver", "Lines", "Absent", "Twice", "Never emitted"),
            [
                (
                    {"file": "JSON lines (exactly once)"}.get(destination, f"{destination} (at least once)"),
                    arrived.lines,
                    arrived.missing,
                    arrived.duplicates,
                    arrived.strange,
                )
                for destination, arrived in soaked.arrived.items()
            ],
        ),
        "",
        (
            f"The file holds all lines in the order in which they were emitted, in {soaked.files} files of "
            f"{FILE_BYTES} at most. "
            f"{soaked.left} lines were left in the spools at the end for another run to deliver."
        ),
        "",
        "## Faults",
        "",
        (
            "Recovery is the time from the end of a fault until the source gives ticks again, or nothing "
            "waits for the destination any "
            "more; it is looked at once a second."
        ),
        "",
        *_table(("Fault", "What happens", "Times", "Seconds", "Recovery s, p50", "longest"), _faults(soaked)),
        "",
        _disks(soaked),
        (
            f"{sum(fault.target == PAGE and fault.kind != IDLE for fault in soaked.faults)} times a client "
            "asked the live page for pictures and did not take them, for up to a minute. "
            f"{sum(fault.kind == IDLE for fault in soaked.faults)} times {IDLE_CONNECTIONS} connections to "
            "it asked for nothing, and were made again where it ended them."
        ),
        "",
        "Reconnected: "
        + ", ".join(
            f"{name} {int(soaked.readings[-1].values.get(('source_reconnects_total', name), 0))} times"
            for name in (camera.name for camera in CAMERAS)
        )
        + ".",
        "",
        "## What the runtime needed",
        "",
        *_needs(soaked),
        "",
        (
            f"`/healthz` and `/metrics` were requested {len(soaked.readings)} times, once a second; "
            f"{soaked.unanswered} times without an "
            f"answer, and `/healthz` was 200 {sum(r.health == 200 for r in soaked.readings)} times, after "
            f"{max(r.health_s for r in soaked.readings):.2f} s at most (limit: {soaked.health_s:g} s). "
            "SIGTERM ended it after "
            f"{soaked.stopped_s:.2f} s with exit {soaked.exit_code}. {soaked.tracebacks} tracebacks in its "
            "log."
        ),
    ]
    return "\n".join(lines) + "\n"


def summary(soaked: Soaked) -> str:
    """The report in a line."""
    rss = soaked.growth("rss_mb")
    return (
        f"{len(soaked.faults)} faults, {len(soaked.found.right)} of {len(soaked.expected)} expected events, "
        f"{len(soaked.lines)} lines emitted, "
        + ", ".join(
            f"{destination} {a.lines} ({a.duplicates} twice)" for destination, a in soaked.arrived.items()
        )
        + f", memory {rss.early:.1f} -> {rss.late:.1f} MB"
    )


def _table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> list[str]:
    """A Markdown table; all columns but the first two of three or more are numbers."""
    return [
        "| " + " | ".join(map(str, head)) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(map(str, row)) + " |" for row in rows),
    ]


def _lateness(soaked: Soaked) -> str:
    begins = [event.start_s - play.start_s for play, event in soaked.found.right]
    ends = [event.end_s - play.end_s for play, event in soaked.found.right]
    if not begins:
        return "No event was found."
    return (
        f"Right events began {min(begins):+.2f} to {max(begins):+.2f} s (median "
        f"{statistics.median(begins):+.2f}) and ended "
        f"{min(ends):+.2f} to {max(ends):+.2f} s (median {statistics.median(ends):+.2f}) from when the "
        "person did."
    )


def _cameras(soaked: Soaked) -> list[tuple[object, ...]]:
    """Each camera with its events; the interlaced one shows what a progressive one does."""
    found = [play for play, _ in soaked.found.right]
    return [
        (
            camera.name,
            f"{camera.kind}, {camera.variant}",
            sum(play.camera == camera.name for play in soaked.expected),
            sum(play.camera == camera.name for play in found),
        )
        for camera in CAMERAS
    ]


def _faults(soaked: Soaked) -> list[tuple[object, ...]]:
    sizes = " and ".join("x".join(map(str, size)) for size in SIZES_WH)
    rows: list[tuple[object, ...]] = []
    for kind, recoveries in soaked.recoveries_s().items():
        lasted = [fault.ended_s - fault.began_s for fault in soaked.faults if fault.kind == kind]
        seen = [seconds for seconds in recoveries if seconds is not None]
        rows.append(
            (
                kind,
                MEANS[kind].format(sizes=sizes),
                len(recoveries),
                f"{min(lasted):.0f} to {max(lasted):.0f}",
                f"{statistics.median(seen):.1f}" if seen else "-",
                f"{max(seen):.1f}" if len(seen) == len(recoveries) else "not seen",
            )
        )
    return rows


def _disks(soaked: Soaked) -> str:
    if soaked.mounted:
        return (
            f"The disks are two tmpfs, of {SPOOL_KB / 1024:g} MiB for the spools and {FILE_KB / 1024:g} "
            "MiB for the file."
        )
    return (
        "No disk could be mounted here: instead of a full one the runtime may write to no file "
        "(RLIMIT_FSIZE)."
    )


def _needs(soaked: Soaked) -> list[str]:
    early_s = EARLY_S if soaked.is_long else EARLY_SHORT_S
    early = f"{early_s[0] / 60:g} to {early_s[1] / 60:g} min"
    rows = []
    for measure, name in (("rss_mb", "resident memory, MB"), ("files", "open files"), ("threads", "threads")):
        grown = soaked.growth(measure)
        values = [getattr(sample, measure) for sample in soaked.samples]
        rows.append(
            (name, f"{grown.early:.1f}", f"{grown.late:.1f}", f"{grown.limit:.1f}", f"{max(values):.1f}")
        )
    tenth = max(1, len(soaked.samples) // 10)
    course = [
        f"{statistics.median(sample.rss_mb for sample in soaked.samples[at : at + tenth]):.1f}"
        for at in range(0, tenth * 10, tenth)
    ]
    first, last = soaked.samples[0], soaked.samples[-1]
    cpu = (last.cpu_s - first.cpu_s) / (last.at_s - first.at_s)
    return [
        *_table(("Median of samples (1 a second)", early, "last fifth", "limit", "highest ever"), rows),
        "",
        (
            f"The limit on memory is {100 * RSS_FRACTION:.0f} % and "
            f"{RSS_MB if soaked.is_long else RSS_SHORT_MB:g} MB above the earlier median; files and threads "
            "vary with the "
            f"connections that are open. Memory in each tenth of the run: {', '.join(course)} MB. The "
            f"runtime took {100 * cpu:.0f} % of a core."
        ),
    ]
