"""Run the benchmarks: ``python -m benchmarks [NAME ...] [--tiny]``."""

from __future__ import annotations

import importlib
import pkgutil

import click

import benchmarks

NAMES = sorted(
    found.name for found in pkgutil.iter_modules(benchmarks.__path__) if found.name[0] != "_"
)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
@click.option("--tiny", is_flag=True, help="Only check that they run; the figures mean nothing.")
def main(names: tuple[str, ...], tiny: bool) -> None:
    """Run the benchmarks named, or all of them."""
    for name in names or NAMES:
        importlib.import_module(f"benchmarks.{name}").run(tiny)


if __name__ == "__main__":
    main()
