"""An interpretability workbench for deepfake detectors.

Samples flow through an instrumented detector into a labeled store; every finding is a small
labeled table computed from the store. Heavy packages are imported on first use.
"""

import lazy_loader

__version__ = "0.2.0"

# Names and their homes are in the stub, which type checkers read too.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
