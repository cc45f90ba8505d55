"""edge_har stands alone: no TensorFlow, no other folder of this project, and nothing heavy for a help text."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import edge_har

PACKAGE = Path(edge_har.__file__).parent
FORBIDDEN = (
    "tensorflow",
    "tf_keras",
    "keras",
    "tensorflow_model_optimization",
    "train",
    "convert",
    "benchmarks",
)
ALLOWED = {"numpy", "cv2", "click", "tomli", "ai_edge_litert", "tflite_runtime", "typing_extensions"}
ALLOWED |= {"paho", "tornado", "prometheus_client"}  # extras
OPTIONAL = {"picamera2"}  # comes with the system, where it does; imported only when it is asked for
MODULES = sorted(
    ".".join(("edge_har", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if path.name != "__main__.py"
)


def in_a_fresh_interpreter(code: str) -> list[str]:
    """Names of all modules that are loaded after `code`."""
    code += "\nimport sys\nprint('loaded:', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].removeprefix("loaded: ").split()


def test_every_module_loads_without_the_workstations_parts() -> None:
    loaded = in_a_fresh_interpreter("import " + ", ".join(MODULES))
    assert set(MODULES) <= set(loaded)
    assert [name for name in loaded if name.partition(".")[0] in FORBIDDEN] == []


@pytest.mark.parametrize("module", MODULES)
def test_no_module_names_them_not_even_inside_a_function(module: str) -> None:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    named = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            named |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            named.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            named |= {a.value.partition(".")[0] for a in node.args if isinstance(a, ast.Constant)}
    assert named <= ALLOWED | OPTIONAL | {"edge_har"} | sys.stdlib_module_names


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["classify", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = f"from edge_har.cli import cli\ntry:\n    cli.main({arguments!r})\nexcept SystemExit as end:\n    assert end.code == 0"
    loaded = in_a_fresh_interpreter(code)
    heavy = [m for m in loaded if m.partition(".")[0] in (*FORBIDDEN, "cv2", "numpy", "ai_edge_litert")]
    assert heavy == []
