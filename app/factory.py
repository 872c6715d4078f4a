"""`create_app`: the dashboard of one run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dash import ClientsideFunction, Dash, Input, Output, State

from app import ids, pages
from app.downloads import add_downloads, add_report
from app.images import add_routes
from app.layout import navigation, shell
from app.login import require_token
from app.maps import add_map_route
from app.prefix import Prefixed, checked_prefix, path_within
from app.run import Run, open_others
from app.scripts import Page
from app.security import guard
from app.uploads import add_large
from probe.errors import ProbeError, StoreError
from probe.run import RunFolder

__all__ = ["create_app"]

#: Dash's page, with the language that screen readers speak it in.
_PAGE = """<!DOCTYPE html>
<html lang="en">
  <head>{%metas%}<title>{%title%}</title>{%favicon%}{%css%}</head>
  <body>{%app_entry%}<footer>{%config%}{%scripts%}{%renderer%}</footer></body>
</html>
"""


def create_app(
    run_dir: str | Path,
    hosts: Sequence[str] = (),
    token: str | None = None,
    others: Sequence[str | Path] = (),
    images: Sequence[str | Path] = (),
    prefix: str = "",
    frames: Sequence[str] = (),
) -> Dash:
    """Make the dashboard of a run; its ``.server`` is a WSGI application.

    A run that is incomplete or damaged is shown as such, and again when it has changed.

    Parameters
    ----------
    run_dir : path
        Folder of the run; only read.
    hosts : sequence of str
        Names beside loopback that the server may be reached by.
    token : str, optional
        Secret that visitors have to give; without one there is no login.
    others : sequence of path
        Folders of further runs, to compare with; only read.
    images : sequence of path
        Folders that images may be opened from, beside those that the run was made from here; see
        `probe.images`.
    prefix : str, default ""
        Path that a proxy adds, such as "/user/me/proxy/8050/"; it may strip it or not.
    frames : sequence of str
        Origins whose pages may show the dashboard in a frame, such as "https://hub.example.org".

    Returns
    -------
    dash.Dash

    Raises
    ------
    StoreError
        If there is no such folder.
    ProbeError
        If the token is too short, a folder of images is missing, or a prefix or an origin is none.
    """
    root = Path(run_dir)
    if not root.is_dir():
        raise StoreError(
            f"There is no folder {str(root)!r}. Give the folder of a run, or make one with "
            "`probe demo`."
        )
    roots = tuple(map(_image_root, images))
    run = Run(RunFolder(root.resolve()), open_others(others, root, roots), roots)
    root_path = checked_prefix(prefix)
    app = Page(
        "app",
        requests_pathname_prefix=root_path,
        routes_pathname_prefix="/",
        title="probe",
        update_title="",
        assets_folder=str(Path(__file__).parent / "assets"),
        serve_locally=True,
        eager_loading=True,
        suppress_callback_exceptions=True,
        use_pages=False,
        add_log_handler=False,
    )
    app.index_string = _PAGE
    app.layout = lambda: shell(_title(run), pages.scopes())
    _route(app, run)
    _follow_scheme(app)
    pages.register(app, run)
    add_routes(app.server, run)
    add_large(app.server, run)
    add_map_route(app.server, run)
    add_downloads(app.server, run)
    add_report(app.server, run)
    # In this order: who may ask, by which name and from which page, comes before what is asked.
    guard(app.server, hosts, app.csp_hashes(), frames)
    if token is not None:
        require_token(app.server, token)
    if root_path != "/":
        app.server.wsgi_app = Prefixed(app.server.wsgi_app, root_path)
    return app


def _image_root(given: str | Path) -> Path:
    if not Path(given).is_dir():
        raise ProbeError(
            f"There is no folder {str(given)!r} to open images from. Give the folder that the "
            "images of the run lie in."
        )
    return Path(given).resolve()


def _route(app: Dash, run: Run) -> None:
    @app.callback(
        Output(ids.PAGE, "children"),
        Output(ids.DECLARED, "data"),
        Input(ids.SCOPE, "data"),
        Input(ids.RENDERED, "data"),
        State(ids.URL, "pathname"),
        State(ids.URL, "search"),
        prevent_initial_call=True,
    )
    def show_page(scope: str, rendered: int, path: str, search: str) -> object:
        here = path_within(path)
        shown = pages.layout(run, here, search or "")
        return shown, pages.declared(run, here, search or "")

    # The page is laid out anew when the path changes, or what all of its cards depend on.
    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("card", "scope"),
        Output(ids.SCOPE, "data"),
        Input(ids.URL, "pathname"),
        Input(ids.URL, "search"),
        State(ids.SCOPES, "data"),
        State(ids.SCOPE, "data"),
    )

    @app.callback(
        Output(ids.NAVIGATION, "children"), Input(ids.URL, "pathname"), Input(ids.URL, "search")
    )
    def show_navigation(path: str, search: str) -> object:
        titles = {place: page.title for place, page in pages.PAGES.items()}
        return navigation(path_within(path), search or "", titles)


def _follow_scheme(app: Dash) -> None:
    """Keep the scheme that the page is in where figures read it; see ``assets/scheme.js``."""
    app.clientside_callback(  # type: ignore[no-untyped-call]
        ClientsideFunction("probe", "scheme"),
        Output(ids.SCHEME, "data"),
        Input(ids.URL, "pathname"),
    )


def _title(run: Run) -> str:
    try:
        return str(run.manifest.get("title", run.folder.root.name))
    except ProbeError:
        return run.folder.root.name
