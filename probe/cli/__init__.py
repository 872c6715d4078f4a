"""Command-line interface: parse arguments, call the library, print the result."""

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
    WORKERS,
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
    """Run a command; exit code 0 on success, 2 on bad input, 130 if interrupted."""
    try:
        code = cli(args=arguments, prog_name="probe", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except ProbeError as error:
        report.error(str(error))
    except click.UsageError as error:
        report.error(error.format_message() + _hint(error))
    except (KeyboardInterrupt, click.Abort):
        report.note("Interrupted. No finished work is lost: rerun the same command to resume.")
        sys.exit(130)
    sys.exit(2)


def _hint(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx else "probe"
    return f" See `{path} --help`."


def _serving(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that set the address and access of the dashboard."""
    options = (
        click.option(
            "--host",
            default="127.0.0.1",
            show_default=True,
            help="Address to listen on; access from other machines needs the token.",
        ),
        click.option("--port", default=8050, show_default=True, help="Port to listen on."),
        click.option(
            "--token",
            envvar="PROBE_TOKEN",
            show_envvar=True,
            metavar="SECRET",
            help="Access token; generated if --host needs one and none is given.",
        ),
        click.option(
            "--allow-host",
            "allow_hosts",
            multiple=True,
            metavar="NAME",
            help="Further host name under which the dashboard is reached; repeatable.",
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
    """Interpretability workbench for deepfake detectors.

    Start with `probe demo`, which needs no data. `probe COMMAND --help` explains a command.
    """


@cli.command()
@click.option(
    "--out", type=OUT, default=Path("runs/demo"), show_default=True, help="Run folder to write."
)
@click.option(
    "--detectors",
    default="meso4,mesoinception4",
    show_default=True,
    metavar="A,B|all",
    help="Architectures to train, comma-separated; see `probe detectors`.",
)
@click.option(
    "--source",
    default="deepfakes",
    show_default=True,
    type=click.Choice(DATASETS),
    help="Lab dataset to train the base detectors on.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed.")
@click.option("--no-serve", is_flag=True, help="Exit after the run; do not start the dashboard.")
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
    """Run the demo study on the lab datasets and serve it."""
    from probe.demo import DemoPlan, run_demo

    plan = DemoPlan(out, DemoPlan.parse(detectors), source, seed, device)
    taken(device)
    report.outcome(run_demo(plan))
    if not no_serve:
        _serve(out, device, **serving)


@cli.command()
@click.argument("file", type=FILE)
@click.option("--out", type=OUT, help="Run folder; overrides the one in FILE.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Only print the state of each stage and its forecast of time, disk and memory.",
)
@click.option(
    "--device",
    envvar=DEVICE_VARIABLE,
    metavar="auto|cpu|cuda|cuda:1|mps",
    help="Device to run networks on; overrides the one in FILE.",
)
def run(file: Path, out: Path | None, dry_run: bool, device: str | None) -> None:
    """Run the study described by a TOML file; resumable."""
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
@click.option("--out", type=Output(), help="HTML file to write.  [default: report.html in RUN]")
@click.option("--pdf", is_flag=True, help="Also write a PDF; needs Chromium, Chrome or Edge.")
def report_run(run: Path, out: Path | None, pdf: bool) -> None:
    """Write the HTML report of a run.

    The report holds the verdict on each claim, figures, tables, and what is missing from RUN. It is
    one self-contained file that needs no network. An unfinished run is reported as far as it got.
    """
    from probe.report.output import write_report

    report.written(write_report(run, out, pdf=pdf))


@cli.group("study")
def study_group() -> None:
    """Create study files."""


@study_group.command("init")
@click.argument("file", type=FILE, default=Path("study.toml"))
def study_init(file: Path) -> None:
    """Write a commented template of a study to FILE."""
    from probe.study.study_file import write_template

    report.written(write_template(file))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def doctor(as_json: bool) -> None:
    """Report packages, devices, extras and caches."""
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
    help="Folder from which images of the run may be read, if the run was made elsewhere or its "
    "images were moved; repeatable.",
)
@_serving
def dashboard(run: Path, device: str, **serving: Any) -> None:
    """Serve the dashboard of a run.

    RUN is a run folder; OTHERS are further runs to compare it with. The dashboard is reachable from
    this machine only, unless --host sets another address; access then needs a token. Traffic is not
    encrypted.
    """
    taken(device)
    _serve(run, device, **serving)


def _serve(run: Path, device: str, **serving: Any) -> None:
    import importlib

    # Pages start computations in separate processes, which inherit this variable.
    os.environ[DEVICE_VARIABLE] = device
    # The app depends on probe, not the reverse: it is loaded by name here, never imported.
    importlib.import_module("app").serve(run, **serving)


@cli.group()
def lab() -> None:
    """Create the lab datasets: six simulated forgery methods."""


@lab.command("make")
@click.argument("out", type=OUT)
@click.option("--size", default=128, show_default=True, help="Image side in pixels.")
@click.option("--identities", type=int, help="Total number of identities.  [default: as needed]")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed.")
@WORKERS
def lab_make(
    out: Path, size: int, identities: int | None, seed: int, n_workers: int | None
) -> None:
    """Write the six lab datasets to OUT."""
    from probe.datasets.lab import make

    report.dataset(make(out, size=size, identities=identities, seed=seed, n_workers=n_workers))


@cli.command()
@click.argument("layout")
@click.argument("root", type=click.Path(path_type=Path))
@click.argument("out", type=OUT)
@click.option("--frames", type=int, help="Number of evenly spaced frames per video.  [default: 32]")
@click.option("--every", type=int, metavar="K", help="Take frames 0, K, 2K, … instead.")
@click.option(
    "--crop/--no-crop",
    default=None,
    help="Crop faces.  [default: crop unless the images are face crops]",
)
@click.option("--size", default=256, show_default=True, help="Crop side in pixels.")
@click.option(
    "--margin",
    default=1.3,
    show_default=True,
    help="Crop side divided by the longer side of the face box.",
)
@click.option("--finder", default="yunet", show_default=True, help="Face detector: yunet or dlib.")
@click.option(
    "--boxes", type=FILE, help="Table of face boxes to use instead of a detector (.csv, .parquet)."
)
@click.option("--align", is_flag=True, help="Align faces by five landmarks.")
@click.option(
    "--splits",
    default="official",
    show_default=True,
    metavar="official|none|cut|seeded",
    help="official: keep official splits and split the rest by identity; none: keep official "
    "splits, all else is test; cut: also split linked identities, dropping videos across splits; "
    "seeded: ignore official splits.",
)
@click.option(
    "--seed",
    type=SEED,
    default=0,
    show_default=True,
    help="Random seed of splits that are not official.",
)
@click.option("--compression", help="Compression level, if there are several.  [default: c23]")
@click.option("--reals", type=FOLDER, help="Folder of the real videos, if ROOT has none.")
@click.option(
    "--image-root",
    "--images",
    "image_root",
    type=FOLDER,
    help="Folder to which the paths in a list are relative.",
)
@click.option("--fake-label", help="Label value that means fake in a table.  [default: 1]")
@click.option(
    "--video-pattern",
    metavar="REGEX",
    help="Regular expression on image paths with a group `video`, and optionally `identity`, "
    "`source` and `frame`.",
)
@click.option(
    "--columns",
    metavar="ROLE=NAME,…",
    help="Columns of a Parquet table of images: image, label, generator, mask, split, video.",
)
@click.option("--name", help="Name of the dataset.  [default: as the layout says]")
@click.option("--strict", is_flag=True, help="Exit with code 2 if anything was skipped.")
@WORKERS
def ingest(layout: str, root: Path, out: Path, **options: Any) -> None:
    """Create a dataset from videos or images.

    Reads ROOT in layout LAYOUT (`auto` recognizes it) and writes the dataset to OUT. Faces are
    cropped from videos; images that are face crops already are used in place. `probe layouts` lists
    the layouts.
    """
    from probe.datasets import ingest as ingest_dataset

    report.ingest(ingest_dataset(layout, root, out, **options))


@cli.command()
def layouts() -> None:
    """List the dataset layouts that `probe ingest` reads."""
    from probe.datasets import LAYOUTS

    report.layouts([LAYOUTS[name] for name in LAYOUTS])


@cli.command()
@click.argument("datasets", nargs=-1, required=True)
@click.option("--split", type=click.Choice(SPLITS), help="Only this split.  [default: all]")
def datasets(datasets: tuple[str, ...], split: str | None) -> None:
    """List the contents of datasets.

    A dataset is a folder, `lab`, or one part of either, such as `lab:faceswap`. NAME=FOLDER gives
    it another name, here and in every command that takes datasets.
    """
    from probe.datasets import open_datasets

    for data in open_datasets(datasets, split=split):
        report.dataset(data)


@cli.command()
@click.argument("datasets", nargs=-1, required=True)
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    help="Only this split; leaks are found only across all.  [default: all]",
)
@click.option("--json", "file", type=Output(), help="Also write the report to this JSON file.")
@click.option("--no-cache", is_flag=True, help="Ignore the cached report of unchanged data.")
@WORKERS
def audit(
    datasets: tuple[str, ...],
    split: str | None,
    file: Path | None,
    no_cache: bool,
    n_workers: int | None,
) -> int:
    """Audit datasets for leaks, duplicates and confounds.

    The audit also checks labels. The exit code is 3 if an error was found in the data.

    A folder that was not ingested, such as that of DF40, or one of its lists is checked as it is:
    empty folders, listed files that are missing, repeated reals, a train split equal to its test.
    """
    from probe.datasets import open_datasets
    from probe.datasets.audit import audit as look
    from probe.datasets.dataset import CARD_FILE

    sources = [
        one
        for one in datasets
        if Path(one).exists() and not (Path(one) / CARD_FILE).is_file() and one != "lab"
    ]
    read = [one for one in datasets if one not in sources]
    opened = [*map(Path, sources), *(open_datasets(read, split=split) if read else ())]
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
@click.option(
    "--input-size", type=COUNT, help="Input side in pixels.  [default: the architecture's]"
)
def layers(name: str, input_size: int | None) -> None:
    """List the layers of a detector that can be tapped.

    NAME is a registered detector, timm:MODEL, or the folder of a trained detector.
    """
    from probe.detectors import load_detector
    from probe.hooks import trace

    report.layers(trace(load_detector(name, input_size=input_size)))


@cli.command()
@click.argument("name")
@click.argument("source")
@click.argument("out", type=OUT)
@click.option(
    "--input-size", type=COUNT, help="Input side in pixels.  [default: the architecture's]"
)
@click.option("--epochs", type=COUNT, help="Training epochs.  [default: base 100, tuned 50]")
@click.option("--batch-size", type=COUNT, help="Images per batch.  [default: base 32, tuned 64]")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Random seed.")
@click.option(
    "--variant",
    type=click.Choice(["base", "shallow", "deep"]),
    default="base",
    show_default=True,
    help="base: train from scratch; shallow: fine-tune the last layers; deep: fine-tune all.",
)
@click.option("--base", type=FOLDER, help="Trained base detector to fine-tune (shallow, deep).")
@click.option("--target", help="Dataset to mix in when fine-tuning (shallow, deep).")
@click.option(
    "--audit/--no-audit",
    "audited",
    default=True,
    show_default=True,
    help="Audit the data first (cached).",
)
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
    """Train a detector on a dataset.

    Trains architecture NAME on dataset SOURCE and writes the detector to folder OUT.
    """
    from probe.datasets import open_datasets
    from probe.detectors import find_architecture
    from probe.detectors.variants import require_tuned, train_variant

    find_architecture(name)
    variant = options.pop("variant")
    require_tuned(variant, options["base"], target)
    data, *others = open_datasets([source, *([target] if target else [])])
    mixed = others[0] if others else None
    place = taken(device)
    if audited:
        _audit([data] + ([mixed] if mixed else []), [source] + ([target] if target else []))
    done = train_variant(name, variant, data, out, target=mixed, device=place, **options)
    report.trained(done, out)


@cli.command()
@click.argument("datasets", nargs=-1, required=True)
@click.option(
    "--detector",
    "-d",
    "names",
    multiple=True,
    required=True,
    metavar="NAME|FOLDER|NAME=WEIGHTS",
    help="Detector to evaluate; repeatable.",
)
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    default="test",
    show_default=True,
    help="Split to evaluate on.",
)
@click.option(
    "--per-video", is_flag=True, help="Also print AUROC per video and mean P(fake) of each."
)
@click.option(
    "--out",
    type=Output("table format", FRAMES),
    help="Table to write (.csv .parquet .tex .md).",
)
@click.option(
    "--audit/--no-audit",
    "audited",
    default=True,
    show_default=True,
    help="Audit the data first (cached).",
)
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
    """Evaluate detectors on datasets.

    Computes accuracy, AUROC, AP and EER with cluster bootstrap confidence intervals.
    """
    from probe.datasets import open_datasets, parts_of
    from probe.evaluation.matrix import evaluate as measure
    from probe.evaluation.matrix import suspect_polarity

    those = detectors_of(names, device)
    opened = open_datasets(datasets)
    chosen = [data.select(split=split) for data in opened]
    if audited:
        _audit(opened, datasets)
    parts = [part for data in chosen for part in parts_of(data)]
    matrix = measure(those, parts, precision=precision)
    report.matrix(matrix)
    if per_video:
        report.matrix(matrix, level="video")
    say_deviation(matrix.data.attrs)
    report.polarity(suspect_polarity(matrix))
    if per_video:
        report.videos(matrix)
    if out:
        report.written(matrix.export(out))


@cli.command()
@click.argument("datasets", nargs=-1, required=True)
@click.option(
    "--detector",
    "-d",
    "name",
    required=True,
    metavar="NAME|FOLDER|NAME=WEIGHTS",
    help="Detector to record.",
)
@click.option(
    "--layer",
    "-l",
    "layers",
    multiple=True,
    required=True,
    help="Layer to record; see `probe layers`; repeatable.",
)
@click.option("--out", type=OUT, required=True, help="Store to write, ending in .zarr.")
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    default="test",
    show_default=True,
    help="Split to record.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float16", "float32"]),
    default="float32",
    show_default=True,
    help="Data type of stored activations.",
)
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
    """Record activations of a detector into a store; resumable."""
    from probe.recording import record as record_store

    detector, data = detector_of(name, device), _joined(datasets, split)
    store = record_store(detector, data, out, layers=list(layers), dtype=dtype, precision=precision)
    say_deviation(store.attrs)
    report.written(out)


def _audit(datasets: Sequence[Dataset], names: Sequence[str]) -> None:
    """Print the findings of an audit; they do not stop the command."""
    from probe.datasets.audit import audit as look

    report.audited(look(datasets, n_workers=None), names)


def _joined(names: Sequence[str], split: str) -> Any:
    from probe.datasets import open_datasets
    from probe.datasets.dataset import concatenate

    opened = open_datasets(names, split=split)
    return opened[0] if len(opened) == 1 else concatenate(opened, "+".join(names))


# Imported last: these modules need the group and the functions above.
from probe.cli import attribution as _attribution  # noqa: E402
from probe.cli import features as _features  # noqa: E402
from probe.cli import neurons as _neurons  # noqa: E402
from probe.cli import reproduction as _reproduction  # noqa: E402

for _part in (_neurons, _features, _attribution, _reproduction):
    for _command in _part.COMMANDS:
        cli.add_command(_command)
