// What the picture of a layer reports, and what the address says of it, each noted only when it
// has changed, so that the server is asked for no more than is needed. See pages/picture.py.
(function () {
  "use strict";
  const dash = (window.dash_clientside = window.dash_clientside || {});
  const picture = (dash.picture = {});
  const values = (search, names) => {
    const params = new URLSearchParams(search || "");
    return names.map((name) => params.get(name) || "");
  };
  const news = (now, held) =>
    JSON.stringify(now) === JSON.stringify(held) ? dash.no_update : now;

  // What all points are drawn for; with another detector or layer the page is laid out anew.
  picture.key = (search, scheme, held) =>
    news([scheme || "", ...values(search, ["embedding", "color", "unit"])], held);

  // What is marked among the points; at first it is in the figure, and nothing is to be changed.
  let marked = [];
  picture.marks = function (search) {
    const before = marked;
    marked = values(search, ["sample", "lasso"]);
    const isFirst = !dash.callback_context.triggered.length;
    return isFirst ? dash.no_update : news(marked, before);
  };

  const range = function (change, axis, known) {
    if (change[axis + ".autorange"]) return [null, null];
    const whole = change[axis + ".range"];
    if (whole) return [whole[0], whole[1]];
    const low = change[axis + ".range[0]"], high = change[axis + ".range[1]"];
    return low === undefined || high === undefined ? known : [low, high];
  };

  // The part that is in view, told after a zoom, and not for every other change of the layout.
  picture.window = function (change, figure, held) {
    if (!change || !Object.keys(change).some((name) => /^[xy]axis\./.test(name))) {
      return dash.no_update;
    }
    const key = figure.layout.uirevision;
    const known = held && held.key === key ? held.range : [null, null, null, null];
    const found = range(change, "xaxis", known.slice(0, 2)).concat(
      range(change, "yaxis", known.slice(2)));
    return found.every((value, i) => value === known[i]) ? dash.no_update : { key, range: found };
  };

  // A cell of the density; a point by itself says which sample it is, see card.js.
  picture.click = function (event) {
    const point = event && event.points && event.points[0];
    return point && point.customdata === undefined ? { x: point.x, y: point.y } : dash.no_update;
  };

  // What was drawn round, without the points in it.
  picture.drawn = (event) =>
    event && (event.lassoPoints || event.range)
      ? { lassoPoints: event.lassoPoints, range: event.range }
      : dash.no_update;

  picture.choose = (changes) => {
    if (changes) dash.card.select(changes);
  };
})();
