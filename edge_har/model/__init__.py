"""From a bundle to scores: manifest, archive, frames, cadence, interpreter, recognizer."""
