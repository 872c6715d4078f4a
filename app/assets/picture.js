// Keep which part of a layer's picture is in view, so that the server is asked for it only after
// a zoom, and not for every other change of a figure's layout.
(function () {
  "use strict";
  window.dash_clientside = window.dash_clientside || {};
  const picture = (window.dash_clientside.picture = {});

  const range = function (change, axis, known) {
    if (change[axis + ".autorange"]) return [null, null];
    const whole = change[axis + ".range"];
    if (whole) return [whole[0], whole[1]];
    const low = change[axis + ".range[0]"], high = change[axis + ".range[1]"];
    return low === undefined || high === undefined ? known : [low, high];
  };

  picture.window = function (change, layer, kind, held) {
    const none = window.dash_clientside.no_update;
    if (!change || !Object.keys(change).some((name) => /^[xy]axis\./.test(name))) return none;
    const key = layer + " " + kind;
    const known = held && held.key === key ? held.range : [null, null, null, null];
    const found = range(change, "xaxis", known.slice(0, 2)).concat(
      range(change, "yaxis", known.slice(2)));
    if (found.every((value, i) => value === known[i])) return none;
    return { key: key, range: found };
  };
})();
