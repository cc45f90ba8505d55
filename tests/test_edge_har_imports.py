"""Imports point one way: between the four packages, between the folders of each;
edge_har never names TensorFlow.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
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
ALLOWED = {"numpy", "cv2", "av", "click", "tomli", "ai_edge_litert", "tflite_runtime", "typing_extensions"}
ALLOWED |= {"paho", "tornado", "prometheus_client", "apprise"}  # extras
OPTIONAL = {"picamera2"}  # comes with the system, where it does; imported only when it is asked for
MODULES = sorted(
    ".".join(("edge_har", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if path.name != "__main__.py"
)


ROOT = PACKAGE.parent
# What each package may import, besides itself.
PACKAGES = {
    "edge_har": set(),
    "train": {"edge_har"},
    "convert": {"train", "edge_har"},
    "benchmarks": {"convert", "train", "edge_har"},
}
# In each package the folders and loose modules, lowest first: those of one line import only from lines above
# theirs. A folder is free inside.
LAYERS = {
    "edge_har": (
        {"errors", "__init__"},
        {"system"},
        {"options"},
        {"model"},
        {"sources"},
        {"regions"},
        {"pipeline"},
        {"sinks", "web", "deploy"},
        {"config", "classify", "bench", "api"},
        {"doctor"},
        {"cli"},
        {"__main__"},
    ),
    "train": (
        {"__init__", "tf", "intervals", "checkout"},
        {"data", "models"},
        {"runs"},
        {"fitting"},
        {"cli"},
    ),
    "convert": (
        {"__init__", "precisions"},
        {"graphs"},
        {"inputs", "tflite"},
        {"compress", "verify"},
        {"package"},
        {"pipeline"},
        {"cli"},
    ),
    "benchmarks": (
        {"__init__"},
        {"measure"},
        {"experiments", "limits"},
        {"pages"},
        {"ship"},
        {"cli"},
        {"__main__"},
    ),
}
# Where the layers would allow more than the design does.
NOT_ALLOWED = {("edge_har", "deploy"): {"sources", "pipeline", "options"}}
# What it exports is loaded when a program first uses it, and is for programs: tests/test_edge_har.py.
FACE = "edge_har.__init__"


def python_files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def imported_modules(source: str) -> Iterator[str]:
    """Every module of ours that `source` imports, also inside a function;
    `from package import module` as both.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(module: str) -> str:
    """The folder or loose module of a package in which `module` lies."""
    package, _, rest = module.partition(".")
    first = rest.partition(".")[0]
    inside = ROOT / package / first
    return first if first and (inside.is_dir() or inside.with_suffix(".py").is_file()) else "__init__"


def forbidden_imports(module: str, source: str) -> list[str]:
    """The imports of `source`, which is the text of `module`, that go against the arrows."""
    package, room = module.partition(".")[0], room_of(module)
    layers = LAYERS[package]
    depth = {name: number for number, layer in enumerate(layers) for name in layer}
    bad = []
    for imported in imported_modules(source):
        target = imported.partition(".")[0]
        if target not in PACKAGES:
            continue
        if target != package:
            if target not in PACKAGES[package]:
                bad.append(imported)
            continue
        below = room_of(imported)
        forbidden = below in NOT_ALLOWED.get((package, room), set())
        if below != room and (forbidden or depth[below] >= depth[room]):
            bad.append(imported)
    return bad


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_follow_the_arrows(package: str) -> None:
    against = {}
    for path in python_files(package):
        module = module_of(path)
        if module != FACE and (bad := forbidden_imports(module, path.read_text(encoding="utf-8"))):
            against[module] = bad
    assert against == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_of_ours_goes_through_the_names_that_edge_har_exports(package: str) -> None:
    exported = {f"edge_har.{name}" for name in edge_har.__all__}
    users = {
        module_of(path)
        for path in python_files(package)
        if exported & set(imported_modules(path.read_text(encoding="utf-8")))
    }
    assert users <= {FACE}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_has_its_place_and_few_modules_lie_loose(package: str) -> None:
    rooms = {room_of(module_of(path)) for path in python_files(package)}
    assert rooms <= set().union(*LAYERS[package])
    loose = [p.stem for p in (ROOT / package).glob("*.py") if not p.stem.startswith("__")]
    assert len(loose) <= 6, loose


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("edge_har.model.bundle", "from edge_har.pipeline.events import Event"),
        ("edge_har.sources.files", "from edge_har import pipeline"),
        ("edge_har.pipeline.pipeline", "def f():\n    import edge_har.sinks.queued"),
        ("edge_har.deploy.store", "from edge_har.sources import open_source"),
        ("edge_har.system.files", "from train.data.files import write_text"),
        ("train.data.index", "from train.fitting import fit"),
        ("train.runs", "import convert.precisions"),
        ("convert.graphs.float_graphs", "from convert.verify.gate import Limits"),
        ("convert.cli", "from benchmarks import ship"),
        ("benchmarks.measure.clips", "from benchmarks.pages.markdown import markdown_table"),
    ],
)
def test_an_import_against_the_arrows_is_found(module: str, line: str) -> None:
    assert len(forbidden_imports(module, line)) == 1


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


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["classify", "--help"],
        ["doctor", "--help"],
        ["config", "init", "--help"],
        ["service", "install", "--help"],
    ],
)
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = (
        f"from edge_har.cli import cli\ntry:\n    cli.main({arguments!r})\nexcept SystemExit as end:\n   "
        " "
        "assert end.code == 0"
    )
    loaded = in_a_fresh_interpreter(code)
    heavy = [m for m in loaded if m.partition(".")[0] in (*FORBIDDEN, "cv2", "numpy", "ai_edge_litert")]
    assert heavy == []
