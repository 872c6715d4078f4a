"""Draw docs/img/ablation.png: detection without the units found, two detectors, two layers.

Units are chosen on the lab's training people and taken out on its test people.

Run ``python tools/draw_ablation.py OUT docs/img/ablation.png``, with OUT as of
``tools/universal_head_table.py``, whose detectors it uses.
"""

from __future__ import annotations

import sys
from pathlib import Path

from probe import ablate, load_detector, neuron_importance, open_dataset, universal_neurons
from probe.plots import plot_ablation, save_figure


def main() -> None:
    """Ablate, print and draw."""
    out, target = Path(sys.argv[1]), Path(sys.argv[2])
    lab, found = open_dataset("lab"), {}
    train, test = (lab.select(split=name) for name in ("train", "test"))
    for name in ("meso4", "mesoinception4"):
        detector = load_detector(out / "detectors" / name / "on-deepfakes" / "seed0")
        for layer in ("leaky", "flatten"):
            chosen = universal_neurons(
                neuron_importance(detector, train, layer, n_untrained=0, n_random=0, n_resamples=0)
            )
            table = ablate(detector, test, layer, units=chosen.sets())
            found[f"{name}, {layer}"] = table
            frame = table.to_dataframe()
            print(name, layer, f"{len(chosen.universal)} universal of {chosen.data.sizes['unit']}")
            print(frame[frame["dataset"] == "mean"].round(3).to_string(), flush=True)
    save_figure(plot_ablation(found), target)


if __name__ == "__main__":
    main()
