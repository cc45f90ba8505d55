"""What tests of conversions need: graphs made into TFLite files, zeros counted in a Keras model."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from edge_har.errors import ConversionError


def tflite_files(jobs: Mapping[str, Any], log: Path, **options: Any) -> dict[str, bytes]:
    """The TFLite files of several jobs, by name; raises the ConversionError of the first that fails."""
    from convert.tflite.quantise import convert_each

    made: dict[str, bytes] = {}
    with closing(convert_each(jobs, log=log, **options)) as results:
        for name, result in results:
            if isinstance(result, ConversionError):
                raise result
            made[name] = result
    return made


def zero_fraction(model: Any) -> float:
    """Fraction of zeros among all kernels of a Keras model, 0 to 1."""
    kernels = [weight.numpy() for weight in model.weights if "kernel" in weight.name]
    return float(sum((kernel == 0).sum() for kernel in kernels) / sum(kernel.size for kernel in kernels))
