"""Recorded files -> what happens in them: one prediction a file, and segments in time.

Memory does not grow with the file.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_har.errors import MisuseError, SourceError, printable
from edge_har.model.bundle import Bundle
from edge_har.model.cadence import TemporalContract, fill_indices
from edge_har.model.preprocess import Pixels
from edge_har.model.recognizer import Scores, TickRecognizer
from edge_har.options.addresses import mask_uri
from edge_har.pipeline.events import surest
from edge_har.pipeline.prefetch import ticks_ahead
from edge_har.pipeline.sampler import Sampler, Ticks
from edge_har.pipeline.squeezed import Squeezed
from edge_har.sources.base import Source
from edge_har.sources.recordings import find_recordings, open_recording

TIME_DECIMALS, SCORE_DECIMALS = 3, 6


@dataclass(frozen=True)
class Segment:
    """A stretch of a file with one label; None where no label is sure enough.

    score: mean probability of its top.
    """

    label: str | None
    start_s: float
    end_s: float
    score: float

    def to_json(self) -> dict[str, Any]:
        """The segment as it is written."""
        return {
            "label": self.label,
            "start_s": round(self.start_s, TIME_DECIMALS),
            "end_s": round(self.end_s, TIME_DECIMALS),
            "score": round(self.score, SCORE_DECIMALS),
        }


@dataclass(frozen=True)
class Result:
    """What one file shows.

    scores: probability per label, the mean over all windows. rejected: at no moment is a label sure enough
    to start an event. padded: a part shorter than a window was filled by repeating its frames. warning: what
    could not be read. squeezed: the first picture that had another shape than the model learned from.
    """

    path: str
    scores: dict[str, float]
    rejected: bool
    segments: tuple[Segment, ...]
    padded: bool = False
    warning: str | None = None
    squeezed: Squeezed | None = None

    @property
    def label(self) -> str:
        """The label of the highest score."""
        return max(self.scores, key=lambda label: self.scores[label])

    def to_json(self) -> dict[str, Any]:
        """The result as one JSON line."""
        scores = {label: round(score, SCORE_DECIMALS) for label, score in self.scores.items()}
        line: dict[str, Any] = {
            "path": self.path,
            "label": self.label,
            "score": scores[self.label],
            "scores": scores,
            "rejected": self.rejected,
            "segments": [segment.to_json() for segment in self.segments],
        }
        if self.padded:
            line["padded"] = True
        return line | ({} if self.warning is None else {"warning": self.warning})


@dataclass(frozen=True)
class UnreadableFile:
    """A file that cannot be read, and why in one line."""

    path: str
    error: str

    def to_json(self) -> dict[str, Any]:
        """The failure as one JSON line."""
        return {"path": self.path, "error": self.error}


def find_files(paths: Iterable[str], report: Callable[[str], None] | None = None) -> list[str]:
    """The recordings that `paths` mean: files as named, folders searched for videos and for folders of
    numbered pictures in sorted order, patterns expanded.

    A path that is not there stays in the list: its line says so. report: gets a line for each folder that
    holds more than recordings. Raises MisuseError when nothing is left to do.
    """
    given, passed_over = list(paths), list[str]()
    found = [file for path in given for file in find_recordings(path, passed_over.append)]
    if not given:
        raise MisuseError("name a file or folder to classify")
    if not found:
        raise MisuseError("; ".join([f"no videos in {', '.join(map(mask_uri, given))}", *passed_over]))
    if report is not None:
        for line in passed_over:
            report(line)
    return found


class Classifier:
    """Classifies file after file with one bundle. threads: CPU threads of a graph."""

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        self.manifest = bundle.manifest
        self._recognizer = TickRecognizer(bundle, threads=threads)

    def files(self, paths: Iterable[str]) -> Iterator[Result | UnreadableFile]:
        """A result or a failure for each file, in order, as soon as it is known."""
        for path in paths:
            try:
                yield self.file(path)
            except SourceError as error:
                # It may be an address, which is no file.
                shown = printable(mask_uri(path))
                path = path if mask_uri(path) == path else shown
                yield UnreadableFile(path, str(error).removeprefix(f"{shown}: "))

    def file(self, path: str) -> Result:
        """Classify one file; raises SourceError when no frame of it can be read."""
        with open_recording(path) as source:
            return self.source(source, path)

    def source(self, source: Source, path: str) -> Result:
        """Classify a source that ends; it is left open. Raises SourceError when no frame of it can be read.

        A silence that resets the tick clock cuts it into parts: no window spans it.
        """
        labels, reject = self.manifest.labels, self.manifest.reject_threshold
        smooth_s = self.manifest.smoothing.smooth_s
        sampler = Sampler(self.manifest.frame, self.manifest.temporal)
        parts = list(self._parts(source, sampler))
        if not parts:
            raise SourceError(f"{path}: no frame can be decoded")
        mean = np.concatenate([part.scores for part in parts]).mean(0, dtype=np.float64)
        warning = source.warning
        if warning is None and sampler.damaged:
            warning = f"{sampler.damaged} frames could not be decoded"
        return Result(
            path=path,
            scores=dict(zip(labels, (mean / mean.sum()).tolist(), strict=True)),
            rejected=reject is not None and max(part.surest(smooth_s) for part in parts) < reject,
            segments=tuple(segment for part in parts for segment in part.segments(labels, reject)),
            padded=any(part.padded for part in parts),
            warning=warning,
            squeezed=sampler.squeezed,
        )

    def _parts(self, source: Source, sampler: Sampler) -> Iterator[_Part]:
        part: _Part | None = None
        for times_s, ticks in ticks_ahead(source, sampler):
            *before_s, last_s = times_s
            if part is not None:
                for time_s in before_s:
                    part.frame_at(time_s)
            if ticks is not None:
                if part is None or ticks.reset:
                    if part is not None:
                        yield part.finished()
                    part = _Part(self._recognizer, self.manifest.temporal, ticks.times_s[0])
                part.classify(ticks)
            if part is not None:
                part.frame_at(last_s)
        if part is not None:
            yield part.finished()


class _Part:
    """A stretch of a file without a gap.

    Keeps the probabilities of its windows, and frames of one window at most.
    """

    def __init__(self, recognizer: TickRecognizer, contract: TemporalContract, start_s: float) -> None:
        recognizer.reset()
        self.start_s = self.end_s = self._frame_s = start_s
        self.padded = False
        self._recognizer = recognizer
        self._contract = contract
        self._ticks = 0
        self._latest: deque[Pixels] = deque(maxlen=contract.frames)
        self._kept = array("f")  # of the windows at the hops, then of the one that fills or ends the part
        self._labels = 0

    def frame_at(self, time_s: float) -> None:
        """A frame was seen; the part ends with the last one, which lasts as long as the one before it."""
        self.end_s = time_s + max(0.0, time_s - self._frame_s)
        self._frame_s = time_s

    def classify(self, ticks: Ticks) -> None:
        """Recognise the next ticks."""
        for _ in ticks.times_s:
            self._ticks += 1
            self._latest.append(ticks.frame)
            self._keep(self._recognizer.tick(ticks.frame))

    def finished(self) -> _Part:
        """Add the window that the end wants: filled where the part is short, else aligned to the end."""
        frames, hop = self._contract.frames, self._contract.hop_ticks
        latest = list(self._latest)
        if self._ticks < frames:
            self.padded = True
            self._keep(
                self._recognizer.clip(np.stack([latest[i] for i in fill_indices(self._ticks, frames)]))
            )
        elif (self._ticks - frames) % hop:
            self._keep(self._recognizer.clip(np.stack(latest)))
        self._latest.clear()
        return self

    @property
    def scores(self) -> Scores:
        """Probabilities of every window: float32 [windows, labels]."""
        return np.frombuffer(self._kept, np.float32).reshape(-1, self._labels)

    def surest(self, smooth_s: float) -> float:
        """The highest probability averaged over `smooth_s`: what decides whether an event would start."""
        hop_s = self._contract.hop_ticks * self._contract.interval_ms / 1000
        return surest(self.scores, hop_s, smooth_s)

    def segments(self, labels: tuple[str, ...], reject_threshold: float | None) -> list[Segment]:
        """What happens when: each hop has the label of the mean of the windows that cover it, equal ones are
        joined.
        """
        means = hop_means(self.scores, self._ticks, self._contract)
        tops = means.argmax(1)
        sure = means.max(1) >= (reject_threshold or 0.0)
        kinds = np.where(sure, tops, -1)
        cuts = [0, *(np.flatnonzero(np.diff(kinds)) + 1).tolist(), len(kinds)]
        hop_s = self._contract.hop_ticks * self._contract.interval_ms / 1000
        found = []
        for first, after in pairwise(cuts):
            kind = int(kinds[first])
            found.append(
                Segment(
                    label=labels[kind] if kind >= 0 else None,
                    start_s=self.start_s + first * hop_s,
                    end_s=self.end_s if after == len(kinds) else self.start_s + after * hop_s,
                    score=float(means[np.arange(first, after), tops[first:after]].mean()),
                )
            )
        return found

    def _keep(self, scores: Scores | None) -> None:
        if scores is not None:
            self._labels = len(scores)
            self._kept.frombytes(scores.astype(np.float32).tobytes())


def hop_means(scores: Scores, ticks: int, contract: TemporalContract) -> NDArray[np.float64]:
    """Mean probabilities of the windows that cover each hop of a part: float64 [hops, labels].

    scores: float32 [windows, labels]: the windows at the hops, then the one aligned to the end where the part
    has a rest. A part shorter than a window has one window, which covers all of it.
    """
    frames, hop = contract.frames, contract.hop_ticks
    hops = -(-ticks // hop)
    if ticks <= frames:
        return np.repeat(scores[:1].astype(np.float64), hops, 0)
    regular = (ticks - frames) // hop + 1
    sums = np.concatenate([np.zeros((1, scores.shape[1])), scores[:regular].cumsum(0, np.float64)])
    at = np.arange(hops)
    first = np.minimum(np.maximum(at - frames // hop + 1, 0), regular)
    after = np.minimum(at + 1, regular)
    total, count = sums[after] - sums[first], (after - first).astype(np.float64)
    if len(scores) > regular:
        in_tail = at * hop >= ticks - frames
        total[in_tail] += scores[regular]
        count[in_tail] += 1
    means: NDArray[np.float64] = total / count[:, np.newaxis]
    return means
