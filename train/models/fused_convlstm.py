"""ConvLSTM2D computed in fewer, larger convolutions, for training: the same weights and results in about half
the time on a CPU.
"""

from __future__ import annotations

from typing import Any

from train.tf import keras, tf


class MergedConvLSTM2D(keras.layers.ConvLSTM2D):  # type: ignore[misc]
    """All frames' input convolutions at once, the gates of a step in one, the steps unrolled.

    Input [batch, frames, height, width, channels] with known sizes; padding valid, whole sequences. In
    training the gates of a clip share one recurrent dropout mask, where Keras draws one for each gate.
    """

    def call(self, inputs: Any, mask: Any = None, training: Any = None, initial_state: Any = None) -> Any:
        """The sequence of states h, float32 [batch, frames, height - 2, width - 2, filters]."""
        cell = self.cell
        frames = inputs.shape[1]
        seen = tf.reshape(inputs, (-1, *inputs.shape[2:]))
        seen = tf.nn.conv2d(seen, cell.kernel, 1, "VALID") + cell.bias
        seen = tf.unstack(tf.reshape(seen, (-1, frames, *seen.shape[1:])), axis=1)
        state = memory = tf.zeros_like(seen[0][..., : self.filters])
        kept = tf.ones_like(state)
        if training and self.recurrent_dropout:
            kept = tf.nn.dropout(kept, self.recurrent_dropout)
        states: list[Any] = []
        for gates in seen:
            if states:  # the first state is zero
                gates = gates + tf.nn.conv2d(state * kept, cell.recurrent_kernel, 1, "SAME")
            entry, keep, candidate, leave = tf.split(gates, 4, axis=-1)
            gate = cell.recurrent_activation
            memory = gate(keep) * memory + gate(entry) * cell.activation(candidate)
            state = gate(leave) * cell.activation(memory)
            states.append(state)
        return tf.stack(states, axis=1)


def training_twin(model: Any) -> Any:
    """A model of the same layers and variables as `model`, with its ConvLSTM2D layers merged; weights are
    copied.
    """

    def twin(layer: Any) -> Any:
        kind = MergedConvLSTM2D if type(layer) is keras.layers.ConvLSTM2D else layer.__class__
        return kind.from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=twin)
    copy.set_weights(model.get_weights())
    return copy
