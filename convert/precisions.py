"""How a graph holds its numbers; the worker and its parent agree on these names."""

FLOAT32 = "float32"
FLOAT16 = "float16"  # weights stored as float16, computed in float32
DYNAMIC = (
    "dynamic"  # int8 weights, activations quantised on the fly inside each convolution, float between them
)
INT8 = "int8"  # everything, inputs and outputs too
INT8_CELLS16 = (
    "int8-cells16"  # convolutions and h as int8, the rest of a ConvLSTM's cells and the scores in 16 bits
)
INT16X8 = "int16x8"  # int8 weights, int16 everything else, inputs and outputs too
CALIBRATED = (INT8, INT16X8, INT8_CELLS16)  # ranges of activations come from clips

INT8_WEIGHTS = "int8-weights"  # how people and manifests name DYNAMIC
MIXED = "mixed"  # a bundle whose graphs differ
MODE_OF = {name: name for name in (INT8, INT8_CELLS16, INT16X8, FLOAT16, FLOAT32)} | {INT8_WEIGHTS: DYNAMIC}
NAME_OF = {mode: name for name, mode in MODE_OF.items()}
PRECISIONS = tuple(MODE_OF)  # those that can be forced
AUTO = "auto"  # the fastest that passes
