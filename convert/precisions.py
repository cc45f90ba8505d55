"""How a graph holds its numbers, by the names that the command line, manifests and reports use."""

from __future__ import annotations

from dataclasses import dataclass

FLOAT32 = "float32"
FLOAT16 = "float16"
INT8_WEIGHTS = "int8-weights"
INT8 = "int8"
INT8_CELLS16 = "int8-cells16"
INT16X8 = "int16x8"


@dataclass(frozen=True)
class Precision:
    """What is known of a precision. description: for model cards. ends: dtypes that the inputs and outputs of
    a graph may have. calibrated: ranges of activations come from clips. all_integer: no operator computes in
    float.
    """

    description: str
    ends: tuple[str, ...]
    calibrated: bool = False
    all_integer: bool = False


# By name, in the order of the help text: those that can be forced.
KNOWN_PRECISIONS = {
    INT8: Precision("int8 weights and activations", ("int8",), calibrated=True, all_integer=True),
    # Convolutions and h as int8, the rest of a ConvLSTM's cells and the scores in 16 bits.
    INT8_CELLS16: Precision(
        "int8 weights and convolutions, cells and scores in 16 bits",
        ("int8", "int16"),
        calibrated=True,
        all_integer=True,
    ),
    INT16X8: Precision("int8 weights, int16 activations", ("int8", "int16", "float32"), calibrated=True),
    FLOAT16: Precision("float16 weights, computed in float32", ("float32",)),
    FLOAT32: Precision("float32", ("float32",)),
    # Activations are quantised on the fly inside each convolution.
    INT8_WEIGHTS: Precision("int8 weights; convolutions in integers, float between them", ("float32",)),
}
PRECISIONS = tuple(KNOWN_PRECISIONS)
CALIBRATED = tuple(name for name, known in KNOWN_PRECISIONS.items() if known.calibrated)
# A bundle whose graphs differ.
MIXED = "mixed"
# The fastest that passes the gate.
AUTO = "auto"
