"""How a graph holds its numbers; the worker and its parent agree on these names."""

FLOAT32 = "float32"
DYNAMIC = (
    "dynamic"  # int8 weights, activations quantised on the fly inside each convolution, float between them
)
INT8 = "int8"  # everything, inputs and outputs too
INT8_CELLS16 = "int8-cells16"  # as int8, but the cell states of a ConvLSTM in 16 bits
