"""Studies: a file that says what to do, run as a chain of stages that can be resumed."""

from probe.study.plan import Study
from probe.study.run import run_study
from probe.study.stages import stages_of
from probe.study.study_file import load_study, parse_study

__all__ = ["Study", "load_study", "parse_study", "run_study", "stages_of"]
