"""A run that holds all that any card may show, and what has to be selected for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

from app.card import At
from app.pages import neurons
from app.run import Run
from app.selection import Selection
from probe.datasets.audit import AuditReport, Finding
from probe.images import token_of
from probe.run import RunFolder
from tests.app.faking import fake_jobs
from tests.app.making import DETECTORS, MadeRun, make_run
from tests.app.scoring import card_weights
from tests.app.test_neurons import drawn_ablation


@dataclass(frozen=True)
class Whole:
    """A run with everything, another to compare it with, and queries by card."""

    run: Run
    others: tuple[Path, ...]
    search: Mapping[str, str]
    #: Tables that no card shows by itself.
    unshown: tuple[str, ...] = field(default=())

    @property
    def root(self) -> Path:
        return self.run.folder.root


@contextmanager
def needed(made: MadeRun, folder: Path) -> Iterator[Whole]:
    """Link a drawn run, and add an audit, weights, results of jobs and another run."""
    root = folder / "run"
    root.mkdir()
    for part in made.root.iterdir():
        (root / part.name).symlink_to(part)
    card_weights(root, *DETECTORS)
    found = (Finding("label-balance", "note", "beta", "Half are fakes."),)
    AuditReport(("alpha/test",), 48, found).save(root / "audit.json")
    other = make_run(folder / "other", seed=1)
    run = Run(RunFolder(root.resolve()), others=(("other", Run(RunFolder(other.root.resolve()))),))
    jobs = fake_jobs(folder / "jobs")
    task = neurons._task(At(run, Selection(units="1,3")))
    drawn_ablation([1, 3]).save(jobs.job(task.fingerprint).result / "ablation.zarr")
    explained = run.maps(DETECTORS[0], run.map_methods(DETECTORS[0])[0]).data["sample"].values
    sample = f"sample={token_of(str(explained[0]))}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.card.jobs_of", lambda run: jobs)
        patch.setattr(neurons, "jobs_of", lambda run: jobs)
        yield Whole(
            run,
            (other.root,),
            {
                "taken-out": "?units=1,3",
                "selection": "?lasso=rlabel%3Dfake",
                "selection-units": "?lasso=rlabel%3Dfake",
                "picked": f"?{sample}",
                "zero-shot-matrix": f"?against={quote(DETECTORS[1], safe='')}",
                "sample-made": f"?{sample}&method=gradcam",
            }
            | {
                f"sample-{name}": f"?{sample}"
                for name in ("view", "scores", "units", "measurements", "place", "maps")
            },
            ("measurements",),
        )
