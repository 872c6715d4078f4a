"""Ids of components that callbacks name, so that a typo is an import error."""

from __future__ import annotations

URL = "url"
#: Further views of the same address. A callback that both reads and writes it may name only
#: components that are there together with it, so each part of a page brings its own.
OVERVIEW_URL = "overview-url"
NEURONS_URL = "neurons-url"
LIST_URL = "neurons-list-url"
#: The scheme that is shown, "light" or "dark", and the switch between the two.
SCHEME = "scheme"
SWITCH = "scheme-switch"
PAGE = "page"
NAVIGATION = "navigation"

METRIC = "overview-metric"
LEVEL = "overview-level"
MATRIX = "overview-matrix"
MATRIX_TEXT = "overview-matrix-text"
CSV_BUTTON = "overview-csv-button"
CSV_FILE = "overview-csv-file"

DETECTOR = "neurons-detector"
BODY = "neurons-body"
COUNTS = "neurons-counts"
COUNTS_TEXT = "neurons-counts-text"
UNITS = "neurons-units"
UNITS_CSV = "neurons-units-csv"
UNITS_NOTE = "neurons-units-note"
UNIT_TITLE = "neurons-unit-title"
EFFECTS = "neurons-effects"
DOSES = "neurons-doses"
DATASET = "neurons-dataset"
GALLERY = "neurons-gallery"
