"""From a trained Keras model to a bundle: prune, rebuild for streaming, quantise, check parity, pack."""
