"""A bundle is whole, unaltered and of a known schema, or it is refused with one clear line."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_har.errors import BundleError
from edge_har.model.bundle import (
    MODEL_CARD,
    decode_strip,
    encode_strip,
    open_bundle,
    pack_bundle,
    read_bundle,
    write_bundle,
)
from edge_har.model.cadence import TemporalContract
from edge_har.model.manifest import MANIFEST, Golden, Graphs, GraphTensors, Manifest, Smoothing, TensorSpec
from edge_har.model.preprocess import FrameSpec

SPEC = FrameSpec((8, 6))
FRAMES = 4


def made_frames() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (FRAMES, 6, 8, 3), np.uint8)


def made_manifest() -> Manifest:
    def tensors(into: str, out: str) -> GraphTensors:
        return GraphTensors(
            (TensorSpec(into, into, (1, 2), "int8", 0.5, 3),), (TensorSpec(out, out, (1, 2), "float32"),)
        )

    return Manifest(
        name="made",
        version="1.2.3",
        release=7,
        kind="lrcn",
        precision="int8",
        labels=("Run", "Gehen über"),
        frame=SPEC,
        temporal=TemporalContract(FRAMES, 80.0),
        graphs=Graphs("clip.tflite", "encoder.tflite", "head.tflite"),
        tensors={
            "clip.tflite": tensors("clip", "scores"),
            "encoder.tflite": tensors("frames", "feature"),
            "head.tflite": tensors("features", "scores"),
        },
        smoothing=Smoothing(1.0, 0.7, 0.3),
        reject_threshold=0.25,
        golden=(Golden("golden/00.png", "Run", (0.9, 0.1)),),
        metrics={"clips": {"accuracy": 0.5}},
        licence={"code": "Apache-2.0"},
    )


def made_files() -> dict[str, bytes]:
    return {
        "clip.tflite": b"clip",
        "encoder.tflite": b"encoder" * 100,
        "head.tflite": b"head",
        "golden/00.png": encode_strip(made_frames()),
        MODEL_CARD: b"# made\n",
    }


@pytest.fixture
def packed() -> bytes:
    return pack_bundle(made_manifest(), made_files())[0]


def rezip(
    content: bytes, change: Callable[[dict[str, bytes]], None], method: int = zipfile.ZIP_STORED
) -> bytes:
    """The same bundle with its entries changed by `change`."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "made.ehar"
    digest = write_bundle(path, made_manifest(), made_files())
    bundle = open_bundle(path)
    assert bundle.digest == digest
    assert bundle.model_id == f"made@{digest[:12]}"
    assert replace(bundle.manifest, files={}).to_json() == made_manifest().to_json()
    assert bundle.read("head.tflite") == b"head"
    assert bundle.read("labels.txt").decode() == "Run\nGehen über\n"
    ((_, frames),) = bundle.golden_clips()
    assert np.array_equal(frames, made_frames())


def test_equal_content_is_equal_bytes_in_another_process(packed: bytes) -> None:
    code = (
        "import sys, tests.test_edge_har_model_bundle as t; "
        "sys.stdout.buffer.write(t.pack_bundle(t.made_manifest(), dict(reversed(t.made_files().items())))[0])"
    )
    other = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo"},
    )
    assert other.stdout == packed


def test_an_unpacked_bundle_is_the_same_bundle(tmp_path: Path, packed: bytes) -> None:
    bundle = read_bundle(packed)
    folder = tmp_path / "versions" / bundle.digest
    folder.mkdir(parents=True)
    bundle.extract(folder)
    (tmp_path / "current").symlink_to(folder)
    assert open_bundle(tmp_path / "current") == bundle
    with pytest.raises(FileExistsError):
        bundle.extract(folder)
    (folder / "head.tflite").write_bytes(b"HEAD")
    with pytest.raises(BundleError, match=r"head\.tflite is not what the manifest lists"):
        open_bundle(folder)
    (folder / "head.tflite").unlink()
    with pytest.raises(BundleError, match=r"head\.tflite is missing"):
        open_bundle(folder)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_is_never_another_valid_bundle(packed: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(packed) - 1))
    damaged = bytearray(packed)
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        opened = read_bundle(bytes(damaged))
    except BundleError:
        return
    # Some bits of a ZIP's headers (versions, times) say nothing: then the content must be untouched.
    assert opened == read_bundle(packed)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_truncated_at_any_length(packed: bytes, data: st.DataObject) -> None:
    with pytest.raises(BundleError):
        read_bundle(packed[: data.draw(st.integers(0, len(packed) - 1))])


def newer_schema(entries: dict[str, bytes]) -> None:
    manifest = json.loads(entries[MANIFEST])
    manifest["schema_version"] = 2
    entries[MANIFEST] = json.dumps(manifest).encode()


def without_key(entries: dict[str, bytes]) -> None:
    manifest = json.loads(entries[MANIFEST])
    del manifest["temporal"]["interval_ms"]
    entries[MANIFEST] = json.dumps(manifest).encode()


def other_labels(entries: dict[str, bytes]) -> None:
    manifest = json.loads(entries[MANIFEST])
    manifest["labels"].reverse()
    entries[MANIFEST] = json.dumps(manifest).encode()


def with_traversal(entries: dict[str, bytes]) -> None:
    manifest = json.loads(entries[MANIFEST])
    manifest["files"]["../evil"] = manifest["files"]["head.tflite"]
    entries[MANIFEST] = json.dumps(manifest).encode()
    entries["../evil"] = entries["head.tflite"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (newer_schema, "schema 2, this edge-har reads up to 1: update edge-har"),
        (without_key, "'temporal' is not a temporal contract"),
        (other_labels, r"labels\.txt does not agree"),
        (with_traversal, "not allowed: '../evil'"),
        (lambda e: e.pop(MANIFEST), "has no manifest.json"),
        (lambda e: e.update({MANIFEST: b"[]"}), "not a bundle's manifest"),
        (lambda e: e.update({MANIFEST: b"{"}), "is not JSON"),
        (lambda e: e.pop("head.tflite"), "differ: head.tflite"),
        (lambda e: e.update({"extra.bin": b"x"}), "differ: extra.bin"),
        (lambda e: e.update({"head.tflite": b"HEAD"}), "head.tflite is not what the manifest lists"),
    ],
)
def test_altered_bundles_say_what_is_wrong(
    tmp_path: Path, packed: bytes, change: Callable[[dict[str, bytes]], None], says: str
) -> None:
    path = tmp_path / "altered.ehar"
    path.write_bytes(rezip(packed, change))
    with pytest.raises(BundleError, match=says) as caught:
        open_bundle(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_only_plain_stored_entries_and_no_other_bytes(packed: bytes) -> None:
    with pytest.raises(BundleError, match="stored uncompressed"):
        read_bundle(rezip(packed, lambda entries: None, zipfile.ZIP_DEFLATED))
    for odd in (packed + b"tail", b"head" + packed):
        with pytest.raises(BundleError):
            read_bundle(odd)
    buffer = io.BytesIO(packed)
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("head.tflite", b"head")
    with pytest.raises(BundleError, match="names a file twice"):
        read_bundle(buffer.getvalue())


@pytest.mark.parametrize("missing", ["no.ehar", "empty"])
def test_what_is_not_a_bundle(tmp_path: Path, missing: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=r"no such bundle|manifest.json is missing"):
        open_bundle(tmp_path / missing)


def test_unknown_optional_keys_are_ignored(packed: bytes) -> None:
    manifest = json.loads(read_bundle(packed).manifest_bytes)
    manifest["from_the_future"] = {"a": 1}
    assert Manifest.from_bytes(json.dumps(manifest).encode()) == read_bundle(packed).manifest


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ("one",)},
        {"labels": ("a", "a")},
        {"release": 0},
        {"name": "../up"},
        {"labels": ("a", "b\x1b[31m")},
        {"temperature": 0.0},
        {"temperature": 1e-9},
        {"temperature": float("nan")},
        {"reject_threshold": 2.0},
        {"graphs": Graphs("clip.tflite", "step.tflite", "head.tflite")},
    ],
)
def test_a_manifest_checks_itself(change: dict[str, object]) -> None:
    with pytest.raises(BundleError):
        replace(made_manifest(), **change)  # type: ignore[arg-type]


def test_files_must_be_complete() -> None:
    files = made_files()
    del files["golden/00.png"]
    with pytest.raises(BundleError, match=r"lacks golden/00\.png"):
        pack_bundle(made_manifest(), files)


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    """/dev/full's stand-in for a folder: a file size limit below the bundle's size."""
    code = (
        "import resource, signal, sys, pathlib, tests.test_edge_har_model_bundle as t\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    t.write_bundle(pathlib.Path(sys.argv[1]), t.made_manifest(), t.made_files())\n"
        "except t.BundleError as error:\n    print(error)\n"
    )
    path = tmp_path / "made.ehar"
    path.write_bytes(b"the bundle before")
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert "could not be written: File too large" in done.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["made.ehar"]
    assert path.read_bytes() == b"the bundle before"


def test_strips_of_another_size_are_refused() -> None:
    content = encode_strip(made_frames())
    assert np.array_equal(decode_strip(content, FRAMES, SPEC), made_frames())
    for frames, spec in ((FRAMES + 1, SPEC), (FRAMES, FrameSpec((6, 8)))):
        with pytest.raises(BundleError, match="not a PNG strip"):
            decode_strip(content, frames, spec)
    with pytest.raises(BundleError, match="not a PNG strip"):
        decode_strip(b"no picture", FRAMES, SPEC)


def test_golden_scores_from_which_nothing_differs_are_refused() -> None:
    for score in (float("nan"), float("inf"), 1e300):
        with pytest.raises(BundleError, match="scores to expect are probabilities"):
            Golden("golden/00.png", "Red", (score, 0.0, 0.0))


def test_damage_that_the_zip_reader_stumbles_over_is_told_as_damage(packed: bytes) -> None:
    # The directory begins, as it says, far before the file does.
    end = bytearray(packed)
    end[-6:-2] = (0xF0000000).to_bytes(4, "little")
    with pytest.raises(BundleError, match="not a whole bundle"):
        read_bundle(bytes(end))


def test_what_a_hostile_bundle_says_reaches_no_terminal_as_it_is() -> None:
    error = BundleError("the bundle has a file '\x1b]0;owned\x07'")
    assert str(error) == "the bundle has a file '\\x1b]0;owned\\x07'"


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *between: bytes, kind: tuple[int, ...] = (8, 2, 0, 0, 0)) -> bytes:
    """A PNG whose header says this; its pixels are a few bytes."""
    header = struct.pack(">II5B", width, height, *kind)
    pixels = zlib.compress(bytes(1000))
    chunks = (chunk(b"IHDR", header), *between, chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    "content",
    [
        png(8, 2_000_000),
        png(2**31 - 1, 2**31 - 1),
        png(30_000, 30_000),
        png(8, 24, kind=(16, 6, 0, 0, 0)),
        png(8, 24, kind=(8, 3, 0, 0, 0)),
        png(8, 24, kind=(8, 2, 0, 0, 1)),
        png(8, 24, chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(10**6)))),
        png(8, 24, chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(10**6)))),
        png(8, 24, chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0))),
        png(8, 24, chunk(b"IHDR", struct.pack(">II5B", 30_000, 30_000, 8, 2, 0, 0, 0))[:-1]),
        png(8, 24) + b"tail",
        png(8, 24)[:-12],
        cv2.imencode(".jpg", np.zeros((24, 8, 3), np.uint8))[1].tobytes(),
        cv2.imencode(".bmp", np.zeros((24, 8, 3), np.uint8))[1].tobytes(),
    ],
    ids=[
        "tall",
        "huge",
        "large",
        "deep",
        "palette",
        "interlaced",
        "profile",
        "text",
        "animation",
        "second header",
        "tail",
        "no end",
        "jpeg",
        "bitmap",
    ],
)
def test_a_picture_that_is_no_strip_is_not_even_decoded(
    monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    def decoded(*arguments: object) -> None:
        raise AssertionError("the header was not looked at first")

    monkeypatch.setattr(cv2, "imdecode", decoded)
    with pytest.raises(BundleError, match="a golden clip is not a PNG strip of 4 frames of 8x6"):
        decode_strip(content, FRAMES, SPEC)


def test_a_decoder_that_gives_up_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def gives_up(*arguments: object) -> None:
        raise cv2.error("out of memory")

    content = encode_strip(made_frames())
    monkeypatch.setattr(cv2, "imdecode", gives_up)
    with pytest.raises(BundleError, match="not a PNG strip"):
        decode_strip(content, FRAMES, SPEC)


@pytest.mark.parametrize(
    ("name", "both"),
    [
        ("golden", "golden"),
        ("head.tflite/x", "head.tflite"),
        ("labels.txt/x", "labels.txt"),
        ("manifest.json/x", "manifest.json"),
        ("manifest.json.sig/x", "manifest.json.sig"),
    ],
)
def test_a_file_beside_a_folder_of_its_name_is_refused(tmp_path: Path, name: str, both: str) -> None:
    with pytest.raises(BundleError, match=f"both a file and a folder of the name '{both}'"):
        pack_bundle(made_manifest(), made_files() | {name: b"x"})


@pytest.mark.parametrize("name", ["golden/clip.tflite", "README.md", "clip.onnx"])
def test_a_graph_is_a_file_of_its_own_kind(name: str) -> None:
    """`model export` writes each beside files of other names."""
    manifest = made_manifest()
    odd = replace(manifest, tensors={**manifest.tensors, name: manifest.tensors["clip.tflite"]})
    with pytest.raises(BundleError, match=r"a graph's file is NAME\.tflite, in no folder"):
        pack_bundle(odd, made_files() | {name: b"x"})


def test_a_file_larger_than_any_bundle_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "large.ehar"
    with open(path, "wb") as file:
        file.truncate(1 << 40)  # a terabyte, of which the disk holds nothing
    with pytest.raises(BundleError, match="larger than"):
        open_bundle(path)
