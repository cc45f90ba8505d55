"""Frames from numpy: what each window of a clip shows, `python frames_from_numpy.py CLIP.npy`."""

import sys

import numpy as np

import edge_har

frames = np.load(sys.argv[1])  # uint8 [frames, height, width, 3], RGB, 25 a second
recognizer = edge_har.Recognizer(edge_har.load_bundle())
for number, frame in enumerate(frames):
    for prediction in recognizer.push(frame, time_s=number / 25):
        print(f"{prediction.end_s:.2f} s: {prediction.label or 'not sure'}, {prediction.score:.0%}")
