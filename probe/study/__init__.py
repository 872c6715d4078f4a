"""Studies: a TOML file that describes a pipeline, run as a chain of resumable stages."""

from probe.study.plan import Study
from probe.study.run import run_study
from probe.study.stages import stages_of
from probe.study.study_file import load_study, parse_study

__all__ = ["Study", "load_study", "parse_study", "run_study", "stages_of"]
