"""Findings as tables and figures: ``x`` the table, ``plot_x`` for print, ``figure_x`` for pages.

Further figures show attribution maps. All names are in ``__init__.pyi``; modules are imported when
a name of theirs is used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
