"""How a graph holds its numbers, by the names that the command line, manifests and reports use."""

FLOAT32 = "float32"
# Weights stored as float16, computed in float32.
FLOAT16 = "float16"
# int8 weights, activations quantised on the fly inside each convolution, float between them.
INT8_WEIGHTS = "int8-weights"
# Everything, inputs and outputs too.
INT8 = "int8"
# Convolutions and h as int8, the rest of a ConvLSTM's cells and the scores in 16 bits.
INT8_CELLS16 = "int8-cells16"
# int8 weights, int16 everything else, inputs and outputs too.
INT16X8 = "int16x8"

# Those that can be forced.
PRECISIONS = (INT8, INT8_CELLS16, INT16X8, FLOAT16, FLOAT32, INT8_WEIGHTS)
# Those whose ranges of activations come from clips.
CALIBRATED = (INT8, INT16X8, INT8_CELLS16)
# A bundle whose graphs differ.
MIXED = "mixed"
# The fastest that passes the gate.
AUTO = "auto"
