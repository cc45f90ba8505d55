"""Knowledge distillation: a small model learns in part what a larger, finished one says of the same clips.

The target of a training clip's windows is in part its own label, in part the teacher's probabilities of that
clip, softened by a temperature (Hinton, Vinyals and Dean, 'Distilling the Knowledge in a Neural Network',
2015).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_har.errors import DataError, MisuseError
from train.data.augment import NEVER, Mirror
from train.data.batches import CachedClip, cache_clips
from train.data.index import Dataset
from train.data.splits import Split
from train.fitting.evaluate import SMALLEST_PROBABILITY, keras_predict, predict_clips
from train.fitting.pretrained import FrozenEncoder
from train.runs import MODEL_SHA256, Run, TrainConfig

TEMPERATURE = 2.0  # at which a teacher, sure of clips that it was trained on, says what else they are like
VALIDATIONS_PER_WINDOW = 4  # windows of the teacher overlap less than in use: it is much cheaper

Floats = NDArray[np.float32]
Report = Callable[[str], None]


@dataclass(frozen=True)
class Taught:
    """Training clips whose label is a row of `table`, for WindowPlan, augment and targets; the first rows are
    the labels themselves, which synthetic clips keep.

    clips: of the data set. mirror: which row a mirrored clip has. table: targets of
    each row, float32 [rows, labels]. label_of: the label of each row, int64 [rows].
    """

    clips: Sequence[CachedClip]
    mirror: Mirror
    table: Floats
    label_of: NDArray[np.int64]


def check_teacher(teacher: Run, config: TrainConfig, dataset: Dataset, split: Split | None) -> None:
    """Raises DataError where a teacher has other labels than the data set, or was trained on groups that
    `split` holds out; MisuseError where `config` is of another teacher.
    """
    if config.teacher != teacher.metrics[MODEL_SHA256]:
        raise MisuseError(f"{teacher.folder}: not the teacher of these settings")
    if teacher.labels != tuple(dataset.labels):
        raise DataError(
            f"{teacher.folder}: a teacher knows the same labels: it has {', '.join(teacher.labels)}, "
            f"the clips have {', '.join(dataset.labels)}"
        )
    if split is None:
        return
    learned = set(teacher.metrics["trained_on"]["groups"])
    held_out = {*split.groups("test"), *(split.groups("validation") if config.validate else ())}
    if learned & held_out:
        raise DataError(
            f"{teacher.folder}: it was trained on group {min(learned & held_out)}, which this split holds "
            "out: train it with the same --split or seed"
        )


def teach(
    teacher: Run,
    dataset: Dataset,
    clips: Sequence[CachedClip],
    cache: Path,
    weights: Path | None,
    report: Report,
) -> Floats:
    """The teacher's softened probabilities of training clips, float32 [clips, labels], the mean over the
    windows of each. Of a teacher with a refit the model before that is taken, which has not seen the groups
    that validate the student.

    clips: as the student sees them. cache: of decoded clips. weights: of the teacher's encoder, where it has
    a pretrained one. Raises what `cache_clips` and `encoders.load_weights` raise.
    """
    config, model = teacher.config, teacher.before_refit() or teacher.model()
    named = {clip.name for clip in clips}
    wanted = [clip for clip in dataset.clips if clip.name in named]
    seen = cache_clips(wanted, dataset.labels, config.frame_spec, cache)
    report(f"{teacher.folder} says what it knows of {len(seen)} clips")
    if config.design.pretrained and not config.fine_tune:
        frozen = FrozenEncoder(config, len(teacher.labels), weights)
        frozen.whole.set_weights(model.get_weights())
        predict, seen = frozen.predict(frozen.behind), frozen.plain(seen, report)
    else:
        predict = keras_predict(model)
    hop = max(config.hop_ticks, config.frames // VALIDATIONS_PER_WINDOW)
    predictions = predict_clips(predict, seen, config.contract, hop)
    by_name = dict(zip(predictions.names, softened(predictions.clips), strict=True))
    return np.stack([by_name[clip.name] for clip in clips])


def softened(probabilities: Floats) -> Floats:
    """The same at TEMPERATURE: float32 [n, labels]."""
    raised = np.maximum(probabilities, SMALLEST_PROBABILITY) ** (1 / TEMPERATURE)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float32)


def taught(clips: Sequence[CachedClip], mirror: Mirror, teaching: Floats, share: float) -> Taught:
    """The same clips, with rows of targets as their labels. teaching: of each clip, as `teach` gives it.
    share: the teacher's part of a target, 0 to 1.
    """
    classes = teaching.shape[1]
    one_label = np.eye(classes, dtype=np.float32)
    # By label, then by clip, then by mirrored clip.
    first, mirrored = classes, classes + len(clips)
    becomes = np.array([label if to == NEVER else to for label, to in enumerate(mirror.target)])
    swapped = np.empty_like(teaching)
    swapped[:, becomes] = teaching
    labels = np.array([clip.label for clip in clips])
    targets = [mirror.target[label] for label in labels]
    after = np.where(np.array(targets) == NEVER, labels, targets)
    table = np.concatenate(
        [
            one_label,
            (1 - share) * one_label[labels] + share * teaching,
            (1 - share) * one_label[after] + share * swapped,
        ]
    )
    rows = tuple(NEVER if to == NEVER else mirrored + number for number, to in enumerate(targets))
    return Taught(
        [replace(clip, label=first + number) for number, clip in enumerate(clips)],
        replace(mirror, target=(*mirror.target, *rows, *[NEVER] * len(clips))),
        table,
        np.concatenate([np.arange(classes), labels, after]),
    )
