"""Mutants of this project's code: each must make the tests named beside it fail.

`python -m tests.mutants` applies one after the other in a temporary copy of the tree and prints which are
killed. Exits 1 where one survives or its fragment is not found exactly once,
and where the tests fail without any mutant.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("edge_har", "tests", "docs", "setup.cfg")
LIMIT_S = 600.0  # of one run of tests: a mutant that never ends is killed as well


@dataclass(frozen=True)
class Mutant:
    """One change of the code. name: what goes wrong by it.
    fragment: stands once in `file`, as short as that allows.

    tests: arguments of pytest; at least one test of them must fail.
    """

    name: str
    file: str
    fragment: str
    replacement: str
    tests: tuple[str, ...]


EVENTS, RULES = "edge_har/pipeline/events.py", "edge_har/pipeline/rules.py"
PLAN, READING = "edge_har/config/plan.py", "edge_har/options/reading.py"
OF_EVENTS = ("tests/test_edge_har_pipeline_events.py",)
# The comparison with the reference alone.
BY_REFERENCE = (*OF_EVENTS, "-k", "whatever_happens")
OF_LABEL_OPTION = ("tests/test_edge_har_cli_config.py", "-k", "label_option or command_line_wins")
OF_SECRETS = ("tests/test_edge_har_options_secrets.py",)

API = "edge_har/api.py"
OF_API = ("tests/test_edge_har_api.py",)

MUTANTS = (
    Mutant("events overlap", EVENTS, "run.start_s < free_s", "False", OF_EVENTS),
    Mutant("events overlap, by the reference", EVENTS, "run.start_s < free_s", "False", BY_REFERENCE),
    Mutant(
        "a rule with enter < leave never fires",
        EVENTS,
        "[min(smoothing.leave, e) for e in enter]",
        "[smoothing.leave for e in enter]",
        OF_EVENTS,
    ),
    Mutant(
        "a rule with enter < leave never fires, by the reference",
        EVENTS,
        "[min(smoothing.leave, e) for e in enter]",
        "[smoothing.leave for e in enter]",
        BY_REFERENCE,
    ),
    Mutant(
        "the run of an event that ended goes on",
        EVENTS,
        "self._above[event.label] = False",
        "pass",
        OF_EVENTS,
    ),
    Mutant(
        "the run of an event that ended goes on, by the reference",
        EVENTS,
        "self._above[event.label] = False",
        "pass",
        BY_REFERENCE,
    ),
    Mutant(
        "a score counts predictions of the event before",
        EVENTS,
        "sum(float(seen[label]) for _, seen in rest), len(rest)",
        "run.total, run.ticks",
        OF_EVENTS,
    ),
    Mutant(
        "an event that its last prediction makes long enough is lost",
        EVENTS,
        "self._announce(event, event.end_s) if event.reported_s is None else []",
        "[]",
        OF_EVENTS,
    ),
    Mutant(
        "a cool-down set while running forgets the ends before it",
        EVENTS,
        "self._ended_s[self._names[event.label]] = event.end_s",
        "self._ended_s.update({self._names[event.label]: event.end_s} if self._cools else {})",
        OF_EVENTS,
    ),
    Mutant(
        "letterboxes of another grey",
        "edge_har/model/preprocess.py",
        "LETTERBOX_VALUE = 114",
        "LETTERBOX_VALUE = 128",
        ("tests/test_edge_har_model_preprocess.py",),
    ),
    Mutant(
        "what bars some names bars others within the same second",
        RULES,
        " or names is not self._names",
        "",
        ("tests/test_edge_har_pipeline_rules.py",),
    ),
    Mutant(
        "float noise in a frame's time starts the tick clock again",
        "edge_har/model/cadence.py",
        "-TIME_TOLERANCE_S <= time_s",
        "0 <= time_s",
        ("tests/test_edge_har_model_cadence.py",),
    ),
    Mutant(
        "a step backwards does not start the tick clock again",
        "edge_har/model/cadence.py",
        "-TIME_TOLERANCE_S <= time_s",
        "-1e-3 <= time_s",
        ("tests/test_edge_har_model_cadence.py",),
    ),
    Mutant(
        "--label does not replace the rule of the file",
        PLAN,
        "**dict(map(label_of_text, given.labels))",
        "**{k: r for k, r in map(label_of_text, given.labels) if k not in of_file.labels}",
        OF_LABEL_OPTION,
    ),
    Mutant(
        "--label drops the rules of other labels",
        PLAN,
        "**of_file.labels, **dict(",
        "**dict(",
        OF_LABEL_OPTION,
    ),
    Mutant(
        "a rule that --label replaces is checked all the same",
        PLAN,
        ".rules.labels.get(label) is not rule",
        ".rules.labels.get(label) is None",
        OF_LABEL_OPTION,
    ),
    Mutant(
        "a message shows a secret of a table",
        READING,
        "self._show_values and not found.secret",
        "self._show_values",
        OF_SECRETS,
    ),
    Mutant(
        "a message shows the value of a sink's option on the command line",
        READING,
        "self._show_values and not found.secret",
        "not found.secret",
        OF_SECRETS,
    ),
    Mutant(
        "in Python, a buffer that is used again changes a frame",
        "edge_har/model/preprocess.py",
        "prepared.copy() if np.may_share_memory(prepared, pixels) else prepared",
        "prepared",
        (*OF_API, "-k", "buffer_may"),
    ),
    Mutant(
        "in Python, a window spans a gap", API, "if ticks.reset:", "if False:", (*OF_API, "-k", "spans_a_gap")
    ),
    Mutant(
        "in Python, the end before an error is lost",
        API,
        "        yield from found.take()\n        raise",
        "        raise",
        (*OF_API, "-k", "ends_before_an_error"),
    ),
    Mutant(
        "in Python, a source that was given open is closed",
        API,
        "partial(_KeptOpen, source)",
        "lambda: source",
        (*OF_API, "-k", "open_source_that_is_lost"),
    ),
)


def passes(tree: Path, tests: tuple[str, ...]) -> bool:
    """Whether the tests pass in a tree; those that find nothing to run do not."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment, check=False, capture_output=True, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return False
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(tests)}: pytest could not run\n{done.stdout.decode()}")
    return done.returncode == 0


def verdict(tree: Path, mutant: Mutant) -> str:
    """`killed`, `survived`, or why it cannot be applied; the tree is left as it was."""
    path = tree / mutant.file
    if not path.is_file():
        return f"not applied: there is no {mutant.file}"
    original = path.read_text(encoding="utf-8")
    found = original.count(mutant.fragment)
    if found != 1:
        return f"not applied: {mutant.fragment!r} is {found} times in {mutant.file}, expected once"
    path.write_text(original.replace(mutant.fragment, mutant.replacement), encoding="utf-8")
    try:
        return "survived" if passes(tree, mutant.tests) else "killed"
    finally:
        path.write_text(original, encoding="utf-8")


def main() -> None:
    """Apply each mutant and print what became of it."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, tree / name)
        for tests in dict.fromkeys(mutant.tests for mutant in MUTANTS):
            if not passes(tree, tests):
                raise SystemExit(f"{' '.join(tests)}: fails without any mutant")
        verdicts = []
        for mutant in MUTANTS:
            verdicts.append(verdict(tree, mutant))
            print(f"{verdicts[-1]:9}  {mutant.file}: {mutant.name}", flush=True)
    killed = verdicts.count("killed")
    print(f"{killed} of {len(MUTANTS)} killed")
    if killed < len(MUTANTS):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
