"""Which TFLite runtimes compute a bundle's golden clips: each runs them, in its own process and environment.

`python -m convert.verify.runtimes --make` (`make runtimes`) makes the environments of the older ones under
.cache/envs.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from convert.tflite.child import PROJECT
from edge_har.errors import ConversionError, MisuseError, RuntimeMissingError
from edge_har.model.manifest import Manifest

TIMEOUT_S = 120.0  # of one runtime's golden clips
ENVIRONMENTS_FOLDER = PROJECT / ".cache" / "envs"
MAKE = "make runtimes"
PYTHON_VARIABLE = "PYTHON311"
PYTHON = "python3.11"  # the newest that tflite-runtime 2.14 has wheels for
PYENV_PYTHONS = ".pyenv/versions/3.11.*/bin/python"  # under the home folder

Report = Callable[[str], None]


@dataclass(frozen=True)
class Environment:
    """A runtime in a Python environment of its own. name: of its folder. runtime: what runs there, and its
    version as far as it is fixed. packages: what pip installs."""

    name: str
    runtime: str
    packages: tuple[str, ...]

    def folder(self, root: Path = ENVIRONMENTS_FOLDER) -> Path:
        """Where it lies, made or not."""
        return root / self.name

    def python(self, root: Path = ENVIRONMENTS_FOLDER) -> Path:
        """Its interpreter."""
        return self.folder(root) / "bin" / "python"

    def is_made(self, root: Path = ENVIRONMENTS_FOLDER) -> bool:
        """Whether it is there, whole, with these packages."""
        return self._stamp(root).is_file() and self.python(root).exists()

    def make(self, base: Path, root: Path = ENVIRONMENTS_FOLDER) -> None:
        """Make it again with the Python 3.11 at `base`.

        Raises RuntimeMissingError, in one line, when it cannot be.
        """
        _run(base, "-m", "venv", "--clear", self.folder(root))
        _run(self.python(root), "-m", "pip", "install", "--quiet", *self.packages)
        self._stamp(root).touch()

    def _stamp(self, root: Path) -> Path:
        packages = hashlib.sha256(" ".join(self.packages).encode()).hexdigest()[:12]
        return self.folder(root) / f".made-{packages}"


LITERT = Environment(
    "litert-1.4",
    "ai-edge-litert 1.4",
    ("ai-edge-litert==1.4.*", "numpy", "opencv-python-headless", "av>=17", "click"),
)
TFLITE = Environment(
    "tflite-2.14",
    "tflite-runtime 2.14",
    ("tflite-runtime==2.14.*", "numpy<2", "opencv-python-headless<4.12", "av>=17", "click"),
)
ENVIRONMENTS = (LITERT, TFLITE)


def interpreters(
    requested: Sequence[Path], report: Report, root: Path = ENVIRONMENTS_FOLDER
) -> tuple[Path, ...]:
    """Pythons whose runtimes a conversion tries: this one, in a process of its own, the made ones, those
    `requested`.

    Environments that are not made are reported, all in one line.
    """
    made = [environment for environment in ENVIRONMENTS if environment.is_made(root)]
    absent = [environment.name for environment in ENVIRONMENTS if environment not in made]
    if absent:
        report(f"not checked with {', '.join(absent)}: {MAKE}")
    own = Path(sys.executable)
    return tuple(dict.fromkeys((own, *(environment.python(root) for environment in made), *requested)))


def check_requested(requested: Sequence[Path]) -> None:
    """Raises MisuseError for a Python that is none, before a conversion begins."""
    for python in requested:
        if shutil.which(python) is None:
            raise MisuseError(f"{python}: is no program that can be started; --runtime takes a Python")


def runtimes_that_agree(content: bytes, interpreters: Sequence[Path], report: Report) -> list[str]:
    """Names and versions of the runtimes, among those of some Python interpreters, that pass `model verify`.

    content: the bundle's bytes. interpreters: each of an environment with a TFLite runtime, numpy, OpenCV and
    click. One that does not pass is reported and not listed. Raises MisuseError for one that cannot be
    started.
    """
    agreed = []
    with TemporaryDirectory(prefix="edge-har-convert-") as folder:
        bundle = Path(folder) / "bundle.ehar"
        bundle.write_bytes(content)
        for interpreter in interpreters:
            command = [str(interpreter), "-m", "edge_har", "model", "verify", "--json", str(bundle)]
            environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
            try:
                child = subprocess.run(
                    command,
                    cwd=folder,
                    env=environment,
                    capture_output=True,
                    text=True,
                    timeout=TIMEOUT_S,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise MisuseError(f"{interpreter}: its runtime cannot be tried: {error}") from error
            if child.returncode == 0:
                agreed.append(str(json.loads(child.stdout)["runtime"]))
            else:
                report(f"{interpreter}: does not run this bundle: {_last_line(child)}")
    return list(dict.fromkeys(agreed))


def check_promised(
    manifest: Manifest, tried: Sequence[Path], agreed: Sequence[str], root: Path = ENVIRONMENTS_FOLDER
) -> None:
    """Raises ConversionError where a runtime that was tried and must run this bundle is not among those that
    `agreed`.

    tried: what `interpreters` gave, so that an environment made meanwhile counts for nothing. ai-edge-litert
    1.4 is the oldest that the package installs with; tflite-runtime 2.14 must run every int8 stream without
    states.
    """
    stateful = any(spec.role.startswith("state_") for t in manifest.tensors.values() for spec in t.inputs)
    for environment in ENVIRONMENTS:
        promised = environment is LITERT or (manifest.precision == "int8" and not stateful)
        runs = any(name.startswith(f"{environment.runtime}.") for name in agreed)
        if promised and environment.python(root) in tried and not runs:
            raise ConversionError(
                f"{environment.runtime} does not compute this bundle's golden clips, and must: see the line "
                "above"
            )


def find_python() -> Path:
    """A Python 3.11: $PYTHON311, python3.11 on the PATH, or pyenv's.

    Raises RuntimeMissingError where there is none.
    """
    named = os.environ.get(PYTHON_VARIABLE)
    for candidate in [Path(named)] if named else _pythons():
        if _version(candidate) == "3.11":
            return candidate
    where = f"${PYTHON_VARIABLE} ({named})" if named else "the PATH and pyenv"
    raise RuntimeMissingError(
        f"no Python 3.11 in {where}, which tflite-runtime 2.14 needs: install one, or set {PYTHON_VARIABLE} "
        "to it"
    )


def _pythons() -> Iterator[Path]:
    found = shutil.which(PYTHON)
    if found is not None:
        yield Path(found)
    yield from sorted(Path(os.path.expanduser("~")).glob(PYENV_PYTHONS), reverse=True)


def _version(python: Path) -> str | None:
    """`3.11` of an interpreter; None for one that does not run (pyenv's shim of a version not set)."""
    command = [str(python), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def make_environments(report: Report, root: Path = ENVIRONMENTS_FOLDER) -> None:
    """Make those of ENVIRONMENTS that are not there.

    Raises RuntimeMissingError, in one line, when one cannot be.
    """
    missing = [environment for environment in ENVIRONMENTS if not environment.is_made(root)]
    for environment in missing:
        report(f"making {environment.folder(root)}: {', '.join(environment.packages)}")
        environment.make(find_python(), root)


def _run(*command: object) -> None:
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    except OSError as error:
        raise RuntimeMissingError(f"{command[0]}: cannot be started: {error.strerror}") from error
    if done.returncode != 0:
        raise RuntimeMissingError(f"{' '.join(map(str, command))}: {_last_line(done)}")


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    return (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--make", is_flag=True, help="Make those that are not there.")
def main(make: bool) -> None:
    """List the environments of older TFLite runtimes that `edge-har convert` tries."""
    if make:
        try:
            make_environments(lambda line: click.echo(line, err=True))
        except RuntimeMissingError as error:
            raise click.ClickException(str(error)) from error
    for environment in ENVIRONMENTS:
        click.echo(f"{environment.name}\t{environment.python() if environment.is_made() else 'not made'}")


if __name__ == "__main__":
    main()
