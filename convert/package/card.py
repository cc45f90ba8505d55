"""The model card inside a bundle, generated from what the conversion measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convert.inputs.canonical import WHOLE_CLIP
from convert.precisions import KNOWN_PRECISIONS, MIXED
from edge_har.model.bundle import GATE
from edge_har.model.manifest import Manifest
from train.models.families import FAMILIES

KINDS = {name: family.description for name, family in FAMILIES.items()} | {
    WHOLE_CLIP: "a model that is run on whole windows"
}
PRECISIONS = {name: known.description for name, known in KNOWN_PRECISIONS.items()} | {
    MIXED: "each graph in the precision that measured best"
}


def model_card(manifest: Manifest, golden_show: str) -> bytes:
    """MODEL_CARD.md, UTF-8. golden_show: what the golden clips show."""
    frame, temporal = manifest.frame, manifest.temporal
    hop = "tick" if temporal.hop_ticks == 1 else f"{temporal.hop_ticks} ticks"
    lines = [
        f"# {manifest.name} {manifest.version} (release {manifest.release})",
        "",
        f"Recognises {len(manifest.labels)} activities in video: {', '.join(manifest.labels)}.",
        "",
        "## Model",
        f"- {KINDS.get(manifest.kind, manifest.kind)}.",
        f"- {PRECISIONS.get(manifest.precision, manifest.precision)}.",
        (
            f"- Input: RGB frames of {frame.size_wh[0]}x{frame.size_wh[1]} ({frame.fit}, "
            f"{frame.interpolation}), "
            f"{temporal.frames} of them {temporal.interval_ms:g} ms apart; a window spans "
            f"{temporal.window_s:.2f} s, "
            f"a prediction comes every {hop}."
        ),
        "",
        "## Figures",
        *_figures(manifest),
        "",
        "## How it was made",
        *_making(manifest),
        "",
        "## Golden clips",
        (
            f"{len(manifest.golden)} clips ({golden_show}) prove that a device computes the same to "
            f"{manifest.golden_tolerance}; "
            "they say nothing about accuracy."
        ),
        "",
        "## Terms",
        *(f"- {part}: {terms}" for part, terms in sorted(manifest.licence.items())),
        "",
        "## Limits",
        (
            f"{_unknown(manifest)} It was "
            "not made to judge people, and must not be the only safeguard where someone's safety depends on "
            "it."
        ),
        "",
    ]
    return "\n".join(lines).encode()


def _unknown(manifest: Manifest) -> str:
    """What it does with what it does not know."""
    if manifest.reject_threshold is None:
        return (
            "It predicts one of its labels for whatever it sees, people it was not trained on and empty "
            "rooms included."
        )
    return (
        f"Where no label reaches {manifest.reject_threshold:g} it names none (`edge-har run --unknown` "
        "reports that): much of what it does not know, and some of what it knows; the rest of what it does "
        "not know gets one of its labels."
    )


def _figures(manifest: Manifest) -> list[str]:
    lines = [f"Protocol: {manifest.protocol}."]
    for name, figures in sorted(manifest.metrics.items()):
        if name == GATE:
            lines += [f"- Let pass by its maker: {breach}." for breach in figures["allowed_by_user"]]
            refused = figures.get("refused_before", ())
            if refused:
                lines.append(
                    "- The precision was chosen with these clips in view: they refused "
                    f"{'; '.join(refused)} before it."
                )
        elif isinstance(figures, Mapping) and isinstance(figures.get("agreement"), Mapping):
            lines += _part(name, figures)
        elif isinstance(figures, Mapping):
            listed = "; ".join(f"{key.replace('_', ' ')} {_plain(value)}" for key, value in figures.items())
            lines.append(f"- {name.replace('_', ' ')}: {listed}")
        elif isinstance(figures, (int, float, str)):
            lines.append(f"- {name}: {figures}")
    return lines


def _plain(value: Any) -> str:
    """A figure, the two ends of an interval, or figures by name."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(held)}" for key, held in value.items())
    if isinstance(value, (list, tuple)):
        return " to ".join(map(_plain, value))
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _part(name: str, figures: Mapping[str, Any]) -> list[str]:
    groups = figures["groups"] if isinstance(figures["groups"], str) else ", ".join(figures["groups"])
    lines = [
        f"- {name}, {figures['clips']} clips, {figures['windows']} windows, groups: {groups}",
        (
            f"  - quantised stream and float model give the same label on {_interval(figures['agreement'])} "
            "of windows; "
            f"probabilities differ by {figures['probability_error']['mean_error']:.4f} on average, "
            f"{figures['probability_error']['max_error']:.4f} at most"
        ),
    ]
    for way, accuracy in figures.get("accuracy", {}).items():
        lines.append(
            f"  - {way.replace('_', ' ')}: {_interval(accuracy['clips'])} of clips correct, "
            f"{_interval(accuracy['windows'])} of windows"
        )
    return lines


def _interval(fraction: Mapping[str, Any]) -> str:
    low, high = fraction["interval"]
    return f"{fraction['share']:.3f} (95 % {low:.3f} to {high:.3f})"


def _making(manifest: Manifest) -> list[str]:
    provenance = manifest.provenance
    lines = [
        f"- {key.replace('_', ' ')}: {provenance[key]}"
        for key in ("command", "commit", "commit_date")
        if key in provenance
    ]
    if "index_sha256" in provenance:
        lines.append(f"- data: index hash {provenance['index_sha256']}")
    if manifest.calibration:
        lines.append(
            f"- int8 ranges from {manifest.calibration['clips']} windows of training groups, list hash "
            f"{manifest.calibration['sha256']}"
        )
    if "pruned_share" in provenance:
        lines.append(
            f"- pruned: {provenance['pruned_share']:.0%} of every kernel; measured in the int8 file "
            f"{provenance['zero_share']:.3f}"
        )
    if "versions" in provenance:
        lines.append(
            "- versions: "
            + ", ".join(f"{name} {version}" for name, version in sorted(provenance["versions"].items()))
        )
    lines.append(f"- loaded by: {', '.join(manifest.runtimes)}")
    return lines
