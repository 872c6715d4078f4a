"""The README's Python, saved as one script without a main guard, on an empty cache."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    assert blocks
    script = tmp_path / "first.py"
    script.write_text("\n".join(blocks), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env={**os.environ, "PROBE_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Traceback" not in done.stderr and (tmp_path / "zero-shot.csv").is_file()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_readme_shows_its_results_in_a_notebook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(README.parent))
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.S)
    cells, names = [], []
    for statement in ast.parse("\n".join(blocks)).body:
        code = ast.unparse(statement)
        if isinstance(statement, ast.Assign):
            names.append(ast.unparse(statement.targets[0]))
            code += f"\n{names[-1]}"
        cells.append(nbformat.v4.new_code_cell(code))
    cells += [nbformat.v4.new_code_cell(f"{one}.plot()") for one in ("found", "table")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": tmp_path}}).execute()

    def shown(cell: dict[str, object]) -> set[str]:
        return {kind for one in cell["outputs"] for kind in one.get("data", ())}  # type: ignore[attr-defined]

    texts = {"layers", "data", "detector", "few", "store"}
    for cell in notebook.cells:
        last = cell.source.splitlines()[-1]
        if last in {*names} - texts or last.endswith(("to_dataframe()", "answers()")):
            assert "text/html" in shown(cell), cell.source
        if last.endswith(".plot()"):
            assert "image/png" in shown(cell), cell.source
        errors = [one for one in cell.outputs if one.get("name") == "stderr"]
        assert not any("Warning" in one["text"] for one in errors), cell.source
