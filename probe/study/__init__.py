"""Studies: a file that says what to do, run as a chain of stages that can be resumed."""

from probe.study.loading import load_study, parse_study
from probe.study.plan import Study
from probe.study.running import run_study
from probe.study.stages import stages_of

__all__ = ["Study", "load_study", "parse_study", "run_study", "stages_of"]
