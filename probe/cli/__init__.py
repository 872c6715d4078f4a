"""The command line: parse, call, print. No logic."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from probe import report
from probe.cli.options import (
    COUNT,
    DEVICE,
    FRAMES,
    PRECISION,
    SEED,
    Output,
    detector_of,
    detectors_of,
    say_deviation,
    taken,
)
from probe.cli.options import FOLDER as OUT
from probe.compute import DEVICE_VARIABLE
from probe.errors import ProbeError
from probe.schema import DATASETS, SPLITS

if TYPE_CHECKING:
    from probe.datasets import Dataset

__all__ = ["cli", "main"]

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; exit code 0 if it did what was asked, 2 on bad input, 130 if interrupted."""
    try:
        code = cli(args=arguments, prog_name="probe", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except ProbeError as error:
        report.error(str(error))
    except click.UsageError as error:
        report.error(error.format_message() + _hint(error))
    except (KeyboardInterrupt, click.Abort):
        report.note("Interrupted. Nothing is lost: run the same command again to go on.")
        sys.exit(130)
    sys.exit(2)


def _hint(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx else "probe"
    return f" See `{path} --help`."


def _serving(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of where and to whom the dashboard is served."""
    options = (
        click.option(
            "--host",
            default="127.0.0.1",
            show_default=True,
            help="Address to listen at; other machines need the token.",
        ),
        click.option("--port", default=8050, show_default=True),
        click.option(
            "--token",
            envvar="PROBE_TOKEN",
            show_envvar=True,
            metavar="SECRET",
            help="What visitors have to give; by default generated where --host needs one.",
        ),
        click.option(
            "--allow-host",
            "allow_hosts",
            multiple=True,
            metavar="NAME",
            help="Name by which the dashboard is reached beside this machine's own; repeatable.",
        ),
        click.option(
            "--prefix",
            metavar="PATH",
            default="",
            help="Path that a proxy adds (/user/me/proxy/8050/); in JupyterHub found by itself.",
        ),
        click.option(
            "--allow-frame",
            "frames",
            multiple=True,
            metavar="ORIGIN",
            help="Origin whose pages may show the dashboard in a frame; repeatable.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="deepfake-probe", prog_name="probe")
def cli() -> None:
    """Interpret deepfake detectors: universal neurons, with nulls.

    Start with `probe demo`, which needs no data.
    """


@cli.command()
@click.option("--out", type=OUT, default=Path("runs/demo"), show_default=True)
@click.option("--detectors", default="meso4,mesoinception4", show_default=True, metavar="A,B|all")
@click.option("--source", default="deepfakes", show_default=True, type=click.Choice(DATASETS))
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--no-serve", is_flag=True, help="End instead of serving the dashboard.")
@DEVICE
@_serving
def demo(
    out: Path,
    detectors: str,
    source: str,
    seed: int,
    no_serve: bool,
    device: str,
    **serving: Any,
) -> None:
    """Run the whole study on the embedded lab dataset and show it in the browser."""
    from probe.demo import DemoPlan, run_demo

    plan = DemoPlan(out, DemoPlan.parse(detectors), source, seed, device)
    taken(device)
    report.outcome(run_demo(plan))
    if not no_serve:
        _serve(out, device, **serving)


@cli.command()
@click.argument("file", type=FILE)
@click.option("--out", type=OUT, help="Run folder, instead of the file's.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Only say what is done and left, and what it takes: hours, disk and memory.",
)
@click.option(
    "--device",
    envvar=DEVICE_VARIABLE,
    metavar="auto|cpu|cuda|cuda:1|mps",
    help="Where networks run, instead of the file's.",
)
def run(file: Path, out: Path | None, dry_run: bool, device: str | None) -> None:
    """Run the study that FILE describes; resumes."""
    from probe.study import load_study, run_study, stages_of

    study = load_study(file, out, device)
    if dry_run:
        from probe.study.costs import forecast

        taken(study.compute.device)
        report.forecast(stages_of(study), *forecast(study))
    else:
        report.stages(stages_of(study))
        taken(study.compute.device)
        words = ["probe", "run", str(file), *(["--out", str(out)] if out else [])]
        words += ["--device", device] if device else []
        report.outcome(run_study(study, shlex.join(words)))


@cli.command("report")
@click.argument("run", type=FOLDER)
@click.option("--out", type=Output(), help="The HTML file.  [default: report.html in RUN]")
@click.option("--pdf", is_flag=True, help="Also print it as PDF, by a Chromium.")
def report_run(run: Path, out: Path | None, pdf: bool) -> None:
    """Tell RUN in one HTML file: its claims with verdicts, figures, tables, and what is missing.

    The file needs nothing else and no network. Runs that are not finished are told as far as they
    are.
    """
    from probe.report.writing import write_report

    report.written(write_report(run, out, pdf=pdf))


@cli.group("study")
def study_group() -> None:
    """Write study files."""


@study_group.command("init")
@click.argument("file", type=FILE, default=Path("study.toml"))
def study_init(file: Path) -> None:
    """Write a commented study file to FILE."""
    from probe.study.study_file import write_template

    report.written(write_template(file))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def doctor(as_json: bool) -> None:
    """Say what this installation has: packages, devices, extras, caches."""
    from probe.doctor import examine

    found = examine()
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        report.doctor(found)


@cli.command()
@click.argument("run", type=FOLDER)
@click.argument("others", type=FOLDER, nargs=-1)
@DEVICE
@click.option(
    "--images",
    type=FOLDER,
    multiple=True,
    metavar="FOLDER",
    help="Folder that images of the run may be opened from, where it was made elsewhere or its "
    "images were moved; repeatable.",
)
@_serving
def dashboard(run: Path, device: str, **serving: Any) -> None:
    """Serve the dashboard of a run folder; OTHERS are further runs to compare it with.

    On this machine only, unless --host says otherwise: then a token is asked for. Traffic is not
    encrypted.
    """
    taken(device)
    _serve(run, device, **serving)


def _serve(run: Path, device: str, **serving: Any) -> None:
    import importlib

    # What pages ask for is computed by processes of their own, which inherit this.
    os.environ[DEVICE_VARIABLE] = device
    # The app stands on top of probe; probe finds it by name and never imports it.
    importlib.import_module("app").serve(run, **serving)


@cli.group()
def lab() -> None:
    """Make the embedded dataset: six simulated forgeries of rendered faces."""


@lab.command("make")
@click.argument("out", type=OUT)
@click.option("--size", default=128, show_default=True, help="Side of the images in pixels.")
@click.option("--identities", type=int, help="Identities in all; by default as many as needed.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--n-workers", type=COUNT, help="Processes; all cores by default.")
def lab_make(
    out: Path, size: int, identities: int | None, seed: int, n_workers: int | None
) -> None:
    """Write all six lab datasets to OUT."""
    from probe.datasets.lab import make

    report.dataset(make(out, size=size, identities=identities, seed=seed, n_workers=n_workers))


@cli.command()
@click.argument("layout")
@click.argument("root", type=click.Path(path_type=Path))
@click.argument("out", type=OUT)
@click.option("--frames", type=int, help="Evenly spaced frames a video.  [default: 32]")
@click.option("--every", type=int, metavar="K", help="Frames 0, K, 2K, … instead.")
@click.option("--crop/--no-crop", default=None, help="By default unless images are face crops.")
@click.option("--size", default=256, show_default=True, help="Side of the crops in pixels.")
@click.option("--margin", default=1.3, show_default=True, help="Crop side / face box side.")
@click.option("--finder", default="yunet", show_default=True, help="Face detector: yunet, dlib.")
@click.option("--boxes", type=FILE, help="Table of face boxes to use instead (.csv, .parquet).")
@click.option("--align", is_flag=True, help="Turn faces upright by five landmarks.")
@click.option(
    "--splits",
    default="official",
    show_default=True,
    metavar="official|cut|seeded",
    help="Who makes the splits that the dataset comes without.",
)
@click.option(
    "--seed", type=SEED, default=0, show_default=True, help="Of splits that are not official."
)
@click.option("--compression", help="Which copies, where there are several.  [default: c23]")
@click.option("--reals", type=FOLDER, help="Where the real videos are, for layouts without.")
@click.option("--image-root", type=FOLDER, help="Folder that the paths of a list start from.")
@click.option("--fake-label", help="Value that means fake in a table where that is not 1.")
@click.option("--video-pattern", metavar="REGEX", help="Groups video, identity, source, frame.")
@click.option("--strict", is_flag=True, help="Exit with 2 if anything could not be taken.")
@click.option("--n-workers", type=COUNT, help="Processes; all cores by default.")
def ingest(layout: str, root: Path, out: Path, **options: Any) -> None:
    """Make a dataset in OUT from what lies under ROOT, laid out as LAYOUT (or auto).

    Face crops are cut from videos; images that are face crops already are used where they lie.
    `probe layouts` lists the layouts.
    """
    from probe.datasets import ingest as ingest_dataset

    report.ingest(ingest_dataset(layout, root, out, **options))


@cli.command()
def layouts() -> None:
    """List the layouts that `ingest` reads."""
    from probe.datasets import LAYOUTS

    report.layouts([LAYOUTS[name] for name in LAYOUTS])


@cli.command()
@click.argument("datasets", nargs=-1, required=True)
@click.option("--split", type=click.Choice(SPLITS), help="One split only.")
def datasets(datasets: tuple[str, ...], split: str | None) -> None:
    """Print what datasets hold: "lab", "lab:faceswap", or folders."""
    from probe.datasets import open_dataset

    for name in datasets:
        report.dataset(open_dataset(name, split=split))


@cli.command()
@click.argument("datasets", nargs=-1, required=True)
@click.option("--split", type=click.Choice(SPLITS), help="One split only; leaks need all.")
@click.option("--json", "file", type=Output(), help="Also write the report as JSON.")
@click.option("--no-cache", is_flag=True, help="Look again, even if nothing has changed.")
@click.option("--n-workers", type=COUNT, help="Processes; all cores by default.")
def audit(
    datasets: tuple[str, ...],
    split: str | None,
    file: Path | None,
    no_cache: bool,
    n_workers: int | None,
) -> int:
    """Look for leaks, duplicates, wrong labels and confounds; exit code 3 on an error."""
    from probe.datasets import open_dataset
    from probe.datasets.audit import audit as look

    opened = [open_dataset(name, split=split) for name in datasets]
    found = look(opened, cache=not no_cache, n_workers=n_workers)
    report.audit(found)
    if file:
        report.written(found.save(file))
    return 3 if found.errors else 0


@cli.command()
def detectors() -> None:
    """List the registered detectors."""
    from probe.detectors import ARCHITECTURES

    report.detectors([ARCHITECTURES[name] for name in ARCHITECTURES])


@cli.command()
@click.argument("name")
@click.option("--input-size", type=COUNT)
def layers(name: str, input_size: int | None) -> None:
    """List the layers of a detector that can be tapped."""
    from probe.detectors import load_detector
    from probe.hooks import trace

    report.layers(trace(load_detector(name, input_size=input_size)))


@cli.command()
@click.argument("name")
@click.argument("source")
@click.argument("out", type=OUT)
@click.option("--input-size", type=COUNT)
@click.option("--epochs", type=COUNT, help="The study's 100 (base) or 50 (tuned) by default.")
@click.option("--batch-size", type=COUNT, help="The study's 32 (base) or 64 (tuned) by default.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--variant", type=click.Choice(["base", "shallow", "deep"]), default="base")
@click.option("--base", type=FOLDER, help="Trained base detector to tune.")
@click.option("--target", help="Dataset mixed in for tuning.")
@click.option("--audit/--no-audit", "audited", default=True, help="Audit the data first (cached).")
@DEVICE
def train(
    name: str,
    source: str,
    out: Path,
    target: str | None,
    audited: bool,
    device: str,
    **options: Any,
) -> None:
    """Train detector NAME on dataset SOURCE into OUT."""
    from probe.datasets import open_dataset
    from probe.detectors import find_architecture
    from probe.detectors.variants import require_tuned, train_variant

    find_architecture(name)
    variant = options.pop("variant")
    require_tuned(variant, options["base"], target)
    mixed, data = open_dataset(target) if target else None, open_dataset(source)
    place = taken(device)
    if audited:
        _audit([data] + ([mixed] if mixed else []), [source] + ([target] if target else []))
    done = train_variant(name, variant, data, out, target=mixed, device=place, **options)
    report.trained(done, out)


@cli.command()
@click.argument("datasets", nargs=-1, required=True)
@click.option(
    "--detector", "-d", "names", multiple=True, required=True, metavar="NAME|FOLDER|NAME=WEIGHTS"
)
@click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True)
@click.option("--per-video", is_flag=True, help="Also print mean P(fake) of every video.")
@click.option("--out", type=Output("table format", FRAMES), help=".csv .parquet .tex .md")
@click.option("--audit/--no-audit", "audited", default=True, help="Audit the data first (cached).")
@DEVICE
@PRECISION
def evaluate(
    datasets: tuple[str, ...],
    names: tuple[str, ...],
    split: str,
    per_video: bool,
    out: Path | None,
    audited: bool,
    device: str,
    precision: str,
) -> None:
    """Measure detectors on datasets: accuracy, AUROC, AP, EER with clustered intervals."""
    from probe.datasets import open_dataset, parts_of
    from probe.evaluation.matrix import evaluate as measure
    from probe.evaluation.matrix import suspect_polarity

    those = detectors_of(names, device)
    opened = [open_dataset(name) for name in datasets]
    chosen = [data.select(split=split) for data in opened]
    if audited:
        _audit(opened, datasets)
    parts = [part for data in chosen for part in parts_of(data)]
    matrix = measure(those, parts, precision=precision)
    report.matrix(matrix)
    say_deviation(matrix.data.attrs)
    report.polarity(suspect_polarity(matrix))
    if per_video:
        report.videos(matrix)
    if out:
        report.written(matrix.export(out))


@cli.command()
@click.argument("datasets", nargs=-1, required=True)
@click.option("--detector", "-d", "name", required=True, metavar="NAME|FOLDER|NAME=WEIGHTS")
@click.option("--layer", "-l", "layers", multiple=True, required=True)
@click.option("--out", type=OUT, required=True, help="The store, ending in .zarr.")
@click.option("--split", type=click.Choice(SPLITS), default="test", show_default=True)
@click.option("--dtype", type=click.Choice(["float16", "float32"]), default="float32")
@DEVICE
@PRECISION
def record(
    datasets: tuple[str, ...],
    name: str,
    layers: tuple[str, ...],
    out: Path,
    split: str,
    dtype: str,
    device: str,
    precision: str,
) -> None:
    """Record activations of a detector on datasets into a store; resumes."""
    from probe.recording import record as record_store

    detector, data = detector_of(name, device), _joined(datasets, split)
    store = record_store(detector, data, out, layers=list(layers), dtype=dtype, precision=precision)
    say_deviation(store.attrs)
    report.written(out)


def _audit(datasets: Sequence[Dataset], names: Sequence[str]) -> None:
    """Say what an audit of these finds; what to make of it is the user's."""
    from probe.datasets.audit import audit as look

    report.audited(look(datasets, n_workers=None), names)


def _joined(names: Sequence[str], split: str) -> Any:
    from probe.datasets import open_dataset
    from probe.datasets.dataset import concatenate

    opened = [open_dataset(name, split=split) for name in names]
    return opened[0] if len(opened) == 1 else concatenate(opened, "+".join(names))


# Last: these commands need the group, and what parses a detector.
from probe.cli import attribution as _attribution  # noqa: E402
from probe.cli import features as _features  # noqa: E402
from probe.cli import neurons as _neurons  # noqa: E402

for _part in (_neurons, _features, _attribution):
    for _command in _part.COMMANDS:
        cli.add_command(_command)
