"""Statistics on plain arrays: metrics, cluster bootstrap, permutation tests, multiplicity."""

from probe.stats.bootstrap import (
    MIN_CLUSTERS,
    Interval,
    bootstrap_metrics,
    cluster_bootstrap,
    cluster_counts,
    cluster_weights,
    inverted_level,
    percentile_bounds,
)
from probe.stats.metrics import (
    METRICS,
    Floats,
    Metric,
    Ranked,
    accuracy,
    auroc,
    average_precision,
    equal_error_rate,
    sigmoid,
)
from probe.stats.multiplicity import (
    COMBINERS,
    adjust_together,
    benjamini_hochberg,
    benjamini_yekutieli,
    independence_counts,
    partial_conjunction,
    simulate_counts,
)
from probe.stats.permutation import Permuted, cluster_rows, exchange_labels, permutation_test

__all__ = [
    "COMBINERS",
    "METRICS",
    "MIN_CLUSTERS",
    "Floats",
    "Interval",
    "Metric",
    "Permuted",
    "Ranked",
    "accuracy",
    "adjust_together",
    "auroc",
    "average_precision",
    "benjamini_hochberg",
    "benjamini_yekutieli",
    "bootstrap_metrics",
    "cluster_bootstrap",
    "cluster_counts",
    "cluster_rows",
    "cluster_weights",
    "equal_error_rate",
    "exchange_labels",
    "independence_counts",
    "inverted_level",
    "partial_conjunction",
    "percentile_bounds",
    "permutation_test",
    "sigmoid",
    "simulate_counts",
]
