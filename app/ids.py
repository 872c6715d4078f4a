"""Ids of components that callbacks name, so that a typo is an import error."""

from __future__ import annotations

URL = "url"
#: The scheme that is shown, "light" or "dark", and the switch between the two.
SCHEME = "scheme"
SWITCH = "scheme-switch"
PAGE = "page"
#: How often the page was laid out anew at the same address.
RENDERED = "rendered"
NAVIGATION = "navigation"
#: What `app.card` declares of the page that is shown.
DECLARED = "declared"
#: Path and choices that the whole page depends on, and the names of these choices by path.
SCOPE = "scope"
SCOPES = "scopes"

# How far a run is that is being written.
PROGRESS = "progress"
PROGRESS_TICK = "progress-tick"
PROGRESS_ASK = "progress-ask"
PROGRESS_SEEN = "progress-seen"
PROGRESS_NEWS = "progress-news"
PROGRESS_SHOW = "progress-show"
