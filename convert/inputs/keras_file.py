"""An external Keras 2 model file (`.h5`, `.keras`), read as data: nothing that it holds is executed.

The file's configuration is JSON; every layer in it must be one of Keras' own and is made here, from plain
values alone. Initialisers, regularisers, optimisers and losses are ignored. Weights are taken by order and
checked by shape.
"""

from __future__ import annotations

import inspect
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from edge_har.errors import ConversionError
from edge_har.system.files import PathKind, path_kind
from train.tf import keras

L = keras.layers
SUFFIXES = (".h5", ".hdf5", ".keras")
KERAS_CONFIG, KERAS_METADATA = "config.json", "metadata.json"  # entries of a .keras file
SAVED_MODEL = "saved_model.pb"
MAX_CONFIG_BYTES = 16 * 1024 * 1024
MODELS = ("Sequential", "Functional", "Model")
# Why a layer of Keras' own is refused all the same.
RUNS_CODE = "it runs code stored in the file; save the model with the layers of Keras that do the same"
CALLS_BY_NAME = "it calls a function that the file names; save the model with a layer that does the same"
HOLDS_TABLES = "it works on text or tables, not on frames"
REFUSED = {
    "Lambda": RUNS_CODE,
    "TFOpLambda": CALLS_BY_NAME,
    "SlicingOpLambda": CALLS_BY_NAME,
    "ClassMethod": CALLS_BY_NAME,
    "InstanceMethod": CALLS_BY_NAME,
    "InstanceProperty": CALLS_BY_NAME,
    "RNN": "a recurrent layer of separate cells is not read; use LSTM, GRU or SimpleRNN",
    "StackedRNNCells": "a recurrent layer of separate cells is not read; use LSTM, GRU or SimpleRNN",
    **dict.fromkeys(
        ("DenseFeatures", "Hashing", "IntegerLookup", "StringLookup", "TextVectorization", "HashedCrossing"),
        HOLDS_TABLES,
    ),
}
# The only values that a configuration may give these.
ONLY = {
    "data_format": "channels_last",
    "time_major": False,
    "stateful": False,
}
NOT_NEEDED = ("_initializer", "_regularizer", "_constraint")  # endings of keys that matter in training alone
SET_HERE = {
    "dtype",
    "dropout",
    "recurrent_dropout",
    "batch_input_shape",
    "batch_shape",
    "input_shape",
    "build_input_shape",
}


def read_model(path: Path) -> Any:
    """The model of a Keras 2 file, exactly as it was saved, for inference.

    Raises ConversionError, in one line, for a file that is damaged or no Keras 2 model, or a layer that is
    refused.
    """
    if path_kind(path, ConversionError) is not PathKind.FILE:
        raise ConversionError(f"{path}: no such model file")
    try:
        if zipfile.is_zipfile(path):
            return _read_keras(path)
        if h5py.is_hdf5(path):
            return _read_h5(path)
    except ConversionError as error:
        raise ConversionError(f"{path}: {error}") from error
    except Exception as error:  # of Keras, HDF5, zip and JSON, which have no common words for a damaged file
        raise ConversionError(f"{path}: not a Keras model that can be read: {first_line(error)}") from error
    raise ConversionError(f"{path}: not a Keras model: expected a .h5 or .keras file of Keras 2")


def first_line(error: Exception) -> str:
    """An error's message, in one line."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def check_file_format(path: Path) -> None:
    """Raises ConversionError, naming what to save instead, for a model in a format that is not read."""
    kind = path_kind(path, ConversionError)
    is_saved_model = path_kind(path / SAVED_MODEL, ConversionError) is PathKind.FILE
    if is_saved_model or kind is PathKind.FILE:
        found = "a SavedModel folder" if is_saved_model else "neither a RUN folder nor a Keras model file"
        raise ConversionError(
            f"{path}: {found}: load it with Keras 2 and save it with model.save('model.h5')"
        )


def _read_h5(path: Path) -> Any:
    with h5py.File(path, "r") as file:
        if "model_config" not in file.attrs:
            raise ConversionError("it holds weights alone, not a model: save it with model.save()")
        _check_version(_text(file.attrs.get("keras_version", "2")))
        model = model_of(json.loads(_text(file.attrs["model_config"])))
        _set_h5_weights(model, file.get("model_weights", file))
    return model


def _read_keras(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        if not {KERAS_CONFIG, KERAS_METADATA} <= set(archive.namelist()):
            raise ConversionError(f"not a .keras file: it has no {KERAS_CONFIG}")
        if archive.getinfo(KERAS_CONFIG).file_size > MAX_CONFIG_BYTES:
            raise ConversionError(f"{KERAS_CONFIG} is larger than {MAX_CONFIG_BYTES} bytes")
        _check_version(str(json.loads(archive.read(KERAS_METADATA)).get("keras_version", "2")))
        model = model_of(json.loads(archive.read(KERAS_CONFIG)))
    # Arrays by position and shape; the configuration is not read again.
    model.load_weights(path)
    return model


def _check_version(version: str) -> None:
    if version.split(".")[0] not in ("1", "2"):
        raise ConversionError(
            f"saved by Keras {version}; expected Keras 2: set TF_USE_LEGACY_KERAS=1 (with tf_keras "
            "installed), or "
            "use TensorFlow 2.15 or older, load the weights there and save again"
        )


def model_of(saved: Mapping[str, Any]) -> Any:
    """A model from its saved configuration, with fresh weights.

    Raises ConversionError for a layer that is refused.
    """
    kind, config = saved["class_name"], saved["config"]
    if kind == "Sequential":
        return _sequential(config)
    if kind in ("Functional", "Model"):
        return _functional(config)
    raise ConversionError(f"the model is a {kind}: expected Sequential or a functional model")


def _sequential(config: Any) -> Any:
    listed = config if isinstance(config, list) else config["layers"]
    shape = next(filter(None, map(_input_shape, listed)), None)
    if shape is None and isinstance(config, Mapping):
        shape = config.get("build_input_shape")
    if shape is None:
        raise ConversionError(
            "the file does not hold the shape of the model's input: call model.build() before saving"
        )
    layers = [_layer(saved) for saved in listed if saved["class_name"] != "InputLayer"]
    return keras.Sequential([L.Input(batch_shape=tuple(shape)), *layers])


def _functional(config: Mapping[str, Any]) -> Any:
    tensors: dict[str, Any] = {}
    waiting = list(config["layers"])
    while waiting:
        ready = [saved for saved in waiting if _sources(saved) <= tensors.keys()]
        if not ready:
            raise ConversionError(f"layer {waiting[0]['config']['name']!r} is fed by nothing in the file")
        for saved in ready:
            tensors[_name(saved)] = _applied(saved, tensors)
        waiting = [saved for saved in waiting if _name(saved) not in tensors]
    inputs, outputs = (
        [tensors[name] for name in _ends(config[key])] for key in ("input_layers", "output_layers")
    )
    return keras.Model(inputs, outputs if len(outputs) > 1 else outputs[0])


def _applied(saved: Mapping[str, Any], tensors: Mapping[str, Any]) -> Any:
    if saved["class_name"] == "InputLayer":
        return L.Input(batch_shape=tuple(_input_shape(saved) or ()), name=_name(saved))
    nodes = saved["inbound_nodes"]
    if len(nodes) != 1:
        raise ConversionError(
            f"layer {_name(saved)!r} is used {len(nodes)} times; only once can be converted"
        )
    references = [nodes[0]] if isinstance(nodes[0][0], str) else nodes[0]
    positional, named = [], {}
    for reference in references:
        positional.append(tensors[reference[0]])
        for key, value in (reference[3] if len(reference) > 3 else {}).items():
            if key != "training":
                named[key] = tensors[value[0]] if _is_reference(value, tensors) else value
    return _layer(saved)(positional[0] if len(positional) == 1 else positional, **named)


def _sources(saved: Mapping[str, Any]) -> set[str]:
    return {name for node in saved.get("inbound_nodes", ()) for name in _references(node)}


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _references(inner)
    elif _is_reference(value):
        yield value[0]
        yield from _references(value[3:])
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _is_reference(value: Any, known: Mapping[str, Any] | None = None) -> bool:
    """Whether a value of the configuration refers to a layer's output: [name, node, tensor, ...]."""
    return (
        isinstance(value, list)
        and len(value) >= 3
        and isinstance(value[0], str)
        and all(isinstance(n, int) for n in value[1:3])
        and (known is None or value[0] in known)
    )


def _ends(saved: Any) -> list[str]:
    """Names in `input_layers` or `output_layers`: one [name, 0, 0], or a list of them."""
    return [saved[0]] if isinstance(saved[0], str) else [reference[0] for reference in saved]


def _layer(saved: Mapping[str, Any]) -> Any:
    """One of Keras' own layers (or a model as a layer), made from plain values."""
    kind, config, name = saved["class_name"], saved["config"], _name(saved)
    if kind in MODELS:
        model = model_of(saved)
        model._name = name
        return model
    layer_class = _own_class(saved)
    for key, only in ONLY.items():
        if config.get(key, only) not in (only, None):
            raise ConversionError(f"layer {name!r} has {key}={config[key]!r}; only {only!r} can be converted")
    if kind == "TimeDistributed":
        return layer_class(_layer(config["layer"]), name=name, trainable=config.get("trainable", True))
    if kind == "Bidirectional":
        backward = config.get("backward_layer")
        return layer_class(
            _layer(config["layer"]),
            merge_mode=config.get("merge_mode", "concat"),
            backward_layer=None if backward is None else _layer(backward),
            name=name,
            trainable=config.get("trainable", True),
        )
    return layer_class(name=name, **_plain(layer_class, config, name))


def _own_class(saved: Mapping[str, Any]) -> Any:
    kind, name = saved["class_name"], _name(saved)
    if kind in REFUSED:
        raise ConversionError(f"layer {name!r} is a {kind}: {REFUSED[kind]}")
    found = getattr(L, kind, None) if isinstance(kind, str) and kind.isidentifier() else None
    custom = ">" in str(saved.get("registered_name") or "") or found is None
    if custom or not (inspect.isclass(found) and issubclass(found, L.Layer)):
        raise ConversionError(
            f"layer {name!r} is a {kind}: not one of Keras' own layers; custom layers are not loaded"
        )
    return found


def _plain(layer_class: Any, config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The values of a configuration that the layer takes and that matter here.

    Those of other versions are ignored.
    """
    taken = {key for base in layer_class.__mro__ for key in inspect.signature(base.__init__).parameters}
    kept = {
        key: value
        for key, value in config.items()
        if key in taken - SET_HERE - {"self", "name"} and not key.endswith(NOT_NEEDED)
    }
    for key, value in kept.items():
        if any(isinstance(inner, Mapping) for inner in (value, *(value if isinstance(value, list) else ()))):
            raise ConversionError(f"layer {name!r} holds an object in {key!r}: only plain values are read")
    return kept


def _name(saved: Mapping[str, Any]) -> str:
    config = saved["config"]
    return str(config["name"] if isinstance(config, Mapping) and "name" in config else saved.get("name", ""))


def _input_shape(saved: Mapping[str, Any]) -> Sequence[int | None] | None:
    config = saved["config"]
    if not isinstance(config, Mapping):
        return None
    own = config.get("batch_input_shape") or config.get("batch_shape")
    if own is None and saved["class_name"] in MODELS and isinstance(config.get("layers"), list):
        return next(filter(None, map(_input_shape, config["layers"])), None)
    return own


def _set_h5_weights(model: Any, group: Any) -> None:
    saved = {}
    for name in map(_text, _listed(group, "layer_names")):
        arrays = {
            _text(weight): group[name][_text(weight)] for weight in _listed(group[name], "weight_names")
        }
        if arrays:
            saved[name] = arrays
    holders = {layer.name: layer for layer in model.layers if layer.weights}
    if holders.keys() != saved.keys():
        raise ConversionError(
            f"it has weights for {len(saved)} layers where its configuration has {len(holders)} with weights"
        )
    for name, layer in holders.items():
        variables = [*layer.trainable_weights, *layer.non_trainable_weights]  # the order in which Keras saves
        expected = [(_last_part(variable.name), tuple(variable.shape)) for variable in variables]
        got = [(_last_part(key), array.shape) for key, array in saved[name].items()]
        if expected != got:
            raise ConversionError(f"layer {name!r} has the weights {got}, expected {expected}")
        for variable, array in zip(variables, saved[name].values(), strict=True):
            variable.assign(np.asarray(array, variable.dtype.as_numpy_dtype))
    settle(model)


def settle(model: Any) -> None:
    """After its weights were set: some layers (Normalization) compute with what they work out of them."""
    for layer in model._flatten_layers():
        layer.finalize_state()


def _last_part(weight: str) -> str:
    """`kernel` of `conv2d/kernel:0`."""
    return weight.rpartition("/")[2].partition(":")[0]


def _listed(group: Any, key: str) -> list[Any]:
    """An attribute of names; long ones are stored in numbered pieces."""
    if key in group.attrs:
        return list(group.attrs[key])
    pieces: list[Any] = []
    while f"{key}{len(pieces)}" in group.attrs:
        pieces.append(group.attrs[f"{key}{len(pieces)}"])
    return [name for piece in pieces for name in piece]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
