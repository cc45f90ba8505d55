"""`edge-har model`: a bundle is shown in full, and verified on this machine."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_har.cli.model import command
from edge_har.errors import BundleError, MisuseError, RuntimeMissingError
from edge_har.model.bundle import SIGNATURE, Bundle, open_bundle
from edge_har.model.manifest import MANIFEST
from tests.helpers.bundles import failing_golden, some_bundle, variant


@pytest.fixture
def bundle_path(tmp_path: Path) -> Path:
    metrics = {"test": {"agreement": {"share": 0.991, "interval": [0.97, 1.0]}, "windows": 412}}
    path = tmp_path / "some.ehar"
    path.write_bytes(variant(some_bundle(), metrics=metrics, protocol="held-out groups"))
    return path


def run(*arguments: str) -> str:
    result = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_inspect_shows_what_a_person_asks(bundle_path: Path) -> None:
    bundle = open_bundle(bundle_path)
    output = run("inspect", str(bundle_path))
    assert output.startswith(f"{bundle.manifest.name} {bundle.manifest.version}, release")
    for expected in (
        bundle.digest,
        ", ".join(bundle.manifest.labels),
        f"{bundle.manifest.temporal.interval_ms:g} ms apart",
        "protocol    held-out groups",
        "agreement: 0.991 (95 % 0.970 to 1.000)",
        "windows: 412",
        f"{bundle_path.stat().st_size:,} bytes",
        "tensors:",
        "provenance:",
        "licence:",
    ):
        assert expected in output
    assert all(name in output for name in bundle.contents)


def test_inspect_shows_what_the_gate_let_pass(tmp_path: Path) -> None:
    path = tmp_path / "some.ehar"
    gate = {"passed": True, "allowed_by_user": [], "min_agreement": 0.97}
    path.write_bytes(variant(some_bundle(), metrics={"gate": gate}))
    assert "gate        passed\n" in run("inspect", str(path))
    allowed = gate | {"allowed_by_user": ["accuracy falls from 90% to 80% of windows"]}
    path.write_bytes(variant(some_bundle(), metrics={"gate": allowed}))
    output = run("inspect", str(path))
    assert (
        "gate        passed only with --allow-drop:\n  accuracy falls from 90% to 80% of windows\n" in output
    )
    path.write_bytes(variant(some_bundle(), metrics={}))
    assert "gate  " not in run("inspect", str(path)), "older bundles say nothing of it"


def test_inspect_json_is_the_manifest(bundle_path: Path) -> None:
    bundle = open_bundle(bundle_path)
    output = json.loads(run("inspect", "--json", str(bundle_path)))
    own = {key: output.pop(key) for key in ("model", "digest", "bytes", "signed", "signature")}
    assert own == {
        "model": bundle.model_id,
        "digest": bundle.digest,
        "bytes": bundle_path.stat().st_size,
        "signed": False,
        "signature": "none",
    }
    assert output == json.loads(bundle.manifest_bytes)


def test_an_unpacked_bundle_is_inspected_alike(bundle_path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    folder.mkdir()
    open_bundle(bundle_path).extract(folder)
    packed, unpacked = (json.loads(run("inspect", "--json", str(p))) for p in (bundle_path, folder))
    files = sum(file["size"] for file in packed["files"].values())
    assert unpacked.pop("bytes") == files + len(open_bundle(bundle_path).manifest_bytes)
    del packed["bytes"]
    assert unpacked == packed


def test_verify_runs_the_golden_clips(bundle_path: Path) -> None:
    count = len(open_bundle(bundle_path).manifest.golden)
    assert f"{count} golden clips within" in run("verify", str(bundle_path))
    output = json.loads(run("verify", "--json", str(bundle_path)))
    assert output["golden_clips"] == count and output["max_difference"] <= output["tolerance"]


def test_export_writes_plain_files(bundle_path: Path, tmp_path: Path) -> None:
    bundle, folder = open_bundle(bundle_path), tmp_path / "exported"
    output = run("export", str(bundle_path), "--to", str(folder)).split()
    names = {*bundle.manifest.tensors, "labels.txt", "export.json", "README.md"}
    assert {Path(line) for line in output} == {folder / name for name in names} == set(folder.iterdir())
    for name in bundle.manifest.tensors:
        assert (folder / name).read_bytes() == bundle.read(name)
    assert (folder / "labels.txt").read_text().splitlines() == list(bundle.manifest.labels)
    described = json.loads((folder / "export.json").read_text())
    manifest = json.loads(bundle.manifest_bytes)
    assert described["digest"] == bundle.digest
    assert all(described[key] == manifest[key] for key in ("labels", "frame", "temporal", "tensors"))
    text = (folder / "README.md").read_text()
    assert all(f"`{spec.role}`" in text for t in bundle.manifest.tensors.values() for spec in t.inputs)
    with pytest.raises(MisuseError, match="is not empty"):
        run("export", str(bundle_path), "--to", str(folder))
    with pytest.raises(MisuseError, match="is a file"):
        run("export", str(bundle_path), "--to", str(bundle_path))
    with pytest.raises(MisuseError, match="cannot be used: File name too long"):
        run("export", str(bundle_path), "--to", str(tmp_path / ("n" * 300)))
    odd = tmp_path / os.fsdecode(b"caf\xe9\x1b")
    assert (
        rf"{tmp_path}/caf\udce9\x1b/labels.txt" in run("export", str(bundle_path), "--to", str(odd)).split()
    )


def test_the_float_model_needs_the_workstation(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_har.cli.entry_points", lambda group: ())
    with pytest.raises(RuntimeMissingError, match="of the workstation: pip install"):
        run("export", str(bundle_path), "--to", str(tmp_path / "x"), "--float", "RUN")
    assert not (tmp_path / "x").exists()


def refused(path: Path, *, match: str) -> None:
    with pytest.raises(BundleError, match=match) as caught:
        CliRunner().invoke(command, ["verify", str(path)], catch_exceptions=False)
    assert "\n" not in str(caught.value)


def test_verify_refuses(bundle_path: Path, tmp_path: Path) -> None:
    refused(tmp_path / "absent.ehar", match="no such bundle")
    content = bundle_path.read_bytes()
    (tmp_path / "cut.ehar").write_bytes(content[: len(content) // 2])
    refused(tmp_path / "cut.ehar", match="truncated")
    altered = bytearray(content)
    altered[len(content) // 2] ^= 1
    (tmp_path / "altered.ehar").write_bytes(altered)
    refused(tmp_path / "altered.ehar", match="altered")
    (tmp_path / "wrong.ehar").write_bytes(failing_golden(2))
    refused(tmp_path / "wrong.ehar", match="golden clip golden/")


def test_verify_names_the_worst_clip(tmp_path: Path) -> None:
    bundle: Bundle = some_bundle()
    first = bundle.manifest.golden[0]
    best = max(first.scores)
    moved = tuple(
        score - 0.1 if score == best else score + 0.1 / (len(first.scores) - 1) for score in first.scores
    )
    golden = (replace(first, scores=moved), *bundle.manifest.golden[1:])
    (tmp_path / "moved.ehar").write_bytes(variant(bundle, golden=golden))
    refused(tmp_path / "moved.ehar", match=f"{first.file}: a probability differs by 0.1")


STEERING = "\x1b[2J\x1b]0;owned\x07\nrelease 99\r\u202e\x9b31m\u2028"


def test_inspect_prints_nothing_that_steers_a_terminal(tmp_path: Path) -> None:
    odd = {"a" + STEERING: [STEERING, {"b": [STEERING]}]}
    gate = {"allowed_by_user": [STEERING, {"c": STEERING}]}
    path = tmp_path / "odd.ehar"
    path.write_bytes(
        variant(
            some_bundle(),
            metrics=odd | {"gate": gate},
            provenance=odd,
            calibration=odd,
            licence={STEERING: STEERING},
            runtimes=(STEERING,),
            protocol=STEERING,
        )
    )
    plain = open_bundle(path)
    lines = run("inspect", str(path)).split("\n")
    assert lines.pop() == ""
    assert all(line.isprintable() for line in lines)
    assert not [line for line in lines if line.startswith("release 99")]
    assert r"\x1b[2J" in "".join(lines)
    (line,) = run("inspect", "--json", str(path)).splitlines()
    assert line.isprintable() and line.isascii()
    assert json.loads(line)["protocol"] == STEERING == plain.manifest.protocol


@pytest.mark.parametrize(
    "figure",
    [
        {"share": "x", "interval": [0, 1]},
        {"share": 0.5, "interval": 7},
        {"share": 0.5, "interval": [0.1]},
        {"share": [], "interval": {}},
        {"share": 10**400, "interval": [0, 10**400]},
    ],
)
def test_inspect_shows_figures_that_are_none(tmp_path: Path, figure: dict[str, object]) -> None:
    path = tmp_path / "odd.ehar"
    metrics = {"test": figure, "gate": {"allowed_by_user": 7}, "slow_source": [1]}
    path.write_bytes(variant(some_bundle(), metrics=metrics))
    assert "    share: " in run("inspect", str(path))


def test_a_signature_that_nobody_checked_is_not_called_one(tmp_path: Path) -> None:
    folder = tmp_path / "unpacked"
    folder.mkdir()
    some_bundle().extract(folder)
    (folder / SIGNATURE).write_bytes(b"junk")
    output = run("inspect", str(folder))
    assert "(it holds a signature, which is not checked)" in output and "(signed)" not in output
    described = json.loads(run("inspect", "--json", str(folder)))
    assert (described["signed"], described["signature"]) == (False, "unchecked")


def test_a_manifest_does_not_say_what_it_is_checked_for(tmp_path: Path) -> None:
    bundle = some_bundle()
    manifest = json.loads(bundle.manifest_bytes) | {"signed": True, "digest": "another", "bytes": -1}
    folder = tmp_path / "unpacked"
    folder.mkdir()
    bundle.extract(folder)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    described = json.loads(run("inspect", "--json", str(folder)))
    assert described["signed"] is False and described["bytes"] > 0
    assert described["digest"] == open_bundle(folder).digest != "another"
