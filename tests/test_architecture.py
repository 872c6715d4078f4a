"""The import rules of the design, checked on the syntax tree."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

BASE = {"errors", "registry", "schema", "stats", "progress", "budget", "results"}
#: What runs networks.
RUNS = {"compute"}
#: What each part may import from probe; parts not named here stand on top and may import all.
ALLOWED = {
    "errors": set(),
    "registry": {"errors"},
    "schema": set(),
    "stats": {"errors", "registry"},
    "progress": set(),
    "budget": {"errors"},
    "compute": {"errors", "progress"},
    "tables": BASE - {"results"},
    "results": {"errors", "tables"},
    "run": BASE,
    "images": BASE | {"run", "datasets"},
    "thumbnails": BASE | {"images", "datasets"},
    "datasets": BASE | {"datasets"},
    "detectors": BASE | RUNS | {"detectors", "datasets", "tables"},
    "hooks": BASE | RUNS | {"hooks", "detectors"},
    "attribution": BASE
    | RUNS
    | {"attribution", "plots", "tables", "datasets", "detectors", "hooks"},
    "store": BASE | {"tables"},
    "neurons": BASE | RUNS | {"tables", "store", "neurons", "hooks", "detectors", "datasets"},
    "separability": BASE | {"tables", "store", "datasets"},
    "artifacts": BASE
    | RUNS
    | {"artifacts", "tables", "store", "neurons", "datasets", "hooks", "detectors"},
    "recording": BASE | RUNS | {"store", "hooks", "detectors", "datasets"},
    "upload": BASE | {"artifacts", "datasets", "detectors", "hooks"},
    "evaluation": BASE | RUNS | {"evaluation", "store", "detectors", "datasets", "tables"},
    "reproduction": BASE | RUNS | {"reproduction", "detectors", "datasets"},
    "joint": BASE
    | {"tables", "run", "evaluation", "neurons", "separability", "attribution", "datasets"},
    "claims": BASE | {"run", "tables", "joint", "neurons"},
    "plots": BASE
    | {"plots", "tables", "datasets", "store", "artifacts", "attribution", "neurons"}
    | {"separability", "evaluation", "reproduction"},
}
TOP = {"__init__", "__main__", "cli", "report", "demo", "doctor", "study", "jobs", "reader"}
#: Modules of parts that the app reads with, which it does not import.
HEAVY = {
    f"neurons/{name}.py"
    for name in (
        "ablation",
        "calibration",
        "importance",
        "measures",
        "screening",
        "sweep",
        "transfer",
    )
}
#: Parts that the app reads with, and the app itself.
NO_TORCH = (
    "store",
    "neurons",
    "tables",
    "results",
    "run",
    "stats",
    "schema",
    "errors",
    "registry",
    "datasets",
    "separability",
    "artifacts",
    "plots",
    "evaluation",
    "joint",
    "claims",
    "images",
    "thumbnails",
)


def part_of(file: Path) -> str:
    return file.relative_to(ROOT / "probe").parts[0].removesuffix(".py")


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "probe":
                found |= {f"probe.{alias.name}" for alias in node.names}
            else:
                found.add(node.module)
    return found


PROBE = sorted((ROOT / "probe").rglob("*.py"))
APP = sorted((ROOT / "app").rglob("*.py"))


@pytest.mark.parametrize("file", PROBE, ids=lambda file: str(file.relative_to(ROOT)))
def test_parts_import_only_what_they_may(file: Path) -> None:
    part = part_of(file)
    assert part in ALLOWED or part in TOP, f"{part} has no rule: give it one"
    used = {name.split(".")[1] for name in imports(file) if name.startswith("probe.")}
    if part in ALLOWED:
        assert used <= ALLOWED[part] | {part}, f"{file.name} imports {used - ALLOWED[part]}"
    assert not any(name.split(".")[0] in {"app", "dash"} for name in imports(file))


@pytest.mark.parametrize(
    "file",
    APP
    + [
        file
        for file in PROBE
        if part_of(file) in NO_TORCH and str(file.relative_to(ROOT / "probe")) not in HEAVY
    ],
    ids=lambda file: str(file.relative_to(ROOT)),
)
def test_no_torch_where_tables_are_read(file: Path) -> None:
    assert not any(
        name.split(".")[0] in {"torch", "timm", "captum", "lightning_fabric"}
        for name in imports(file)
    )


def test_import_probe_is_light() -> None:
    heavy = "torch", "xarray", "pandas", "matplotlib", "dash", "cv2", "numba"
    code = f"import sys, probe; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_resolves() -> None:
    code = "import probe; print([n for n in probe.__all__ if getattr(probe, n) is None])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_functions_stay_functions_when_their_module_is_imported_first() -> None:
    code = "import probe.recording, probe.neurons.ablation, probe; assert callable(probe.record)"
    subprocess.run([sys.executable, "-c", code], check=True)
