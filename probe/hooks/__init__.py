"""Instrumentation by torch.fx: tracing, taps, activation capture and interventions do(h = v)."""

from probe.hooks.capture import REDUCERS, Recorder, Tap, capture
from probe.hooks.suffix import (
    AffineProgram,
    LocalProgram,
    Rerun,
    State,
    SuffixProgram,
    compile_suffix,
    intervene,
    split,
)
from probe.hooks.tracing import TracedDetector, TraceReport, trace

__all__ = [
    "REDUCERS",
    "AffineProgram",
    "LocalProgram",
    "Recorder",
    "Rerun",
    "State",
    "SuffixProgram",
    "Tap",
    "TraceReport",
    "TracedDetector",
    "capture",
    "compile_suffix",
    "intervene",
    "split",
    "trace",
]
