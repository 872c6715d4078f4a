"""Devices by name: which is taken, what is refused and how."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from probe import compute
from probe.cli import main
from probe.detectors import load_detector
from probe.errors import ProbeError
from tests.study.making import write_study


@pytest.mark.parametrize(
    "there, asked, taken",
    [
        (["cpu"], "auto", "cpu"),
        (["cpu", "mps"], "auto", "mps"),
        (["cpu", "cuda:1", "cuda:0"], "auto", "cuda:0"),
        (["cpu", "mps", "cuda:0"], "auto", "cuda:0"),
        (["cpu", "cuda:1", "cuda:0"], "cuda", "cuda:0"),
        (["cpu", "cuda:1", "cuda:0"], "cuda:1", "cuda:1"),
        (["cpu", "cuda:0"], "cpu", "cpu"),
    ],
)
def test_auto_prefers_an_accelerator(
    there: list[str], asked: str, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute, "devices", lambda: dict.fromkeys(there, "made up"))
    assert compute.resolve_device(asked) == torch.device(taken)


@pytest.mark.parametrize("asked", ["cuda", "cuda:0", "cuda:3", "mps", "tpu", "CPU", ""])
def test_what_is_not_here_is_refused(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute, "devices", lambda: {"cpu": "2 threads"})
    known = asked.startswith(("cuda", "mps"))
    with pytest.raises(ProbeError) as error:
        compute.resolve_device(asked)
    said = str(error.value)
    assert (
        said.startswith(f"Device {asked!r} was given, ") and "Available: cpu (2 threads)." in said
    )
    assert ("which is not available." if known else "which is not the name of a device.") in said


def test_a_study_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute, "devices", lambda: {"cpu": "2 threads"})
    file = write_study(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["run", str(file), "--out", str(tmp_path / "run"), "--device", "cuda"])
    assert left.value.code == 2 and not (tmp_path / "run").exists()
    assert "Error: Device 'cuda' was given, which is not available." in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["run", str(file), "--device", "gpu"])
    assert "compute.device = 'gpu': give auto, cpu, mps" in capsys.readouterr().err


def test_a_detector_moves_and_says_where_it_is() -> None:
    detector = load_detector("meso4", input_size=32, device="auto")
    assert detector.to("cpu") is detector and detector.device == torch.device("cpu")
    with pytest.raises(ProbeError, match="not the name of a device"):
        load_detector("meso4", device="abacus")


def test_weights_do_not_depend_on_the_seed_of_others() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = load_detector("meso4", input_size=32, seed=4).fingerprint
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert load_detector("meso4", input_size=32, seed=4).fingerprint == one
