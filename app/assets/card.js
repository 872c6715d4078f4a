// The address is the only state. Controls and clicks write it; cards are asked for anew when a
// field that they use has changed. See card.py.
(function () {
  "use strict";
  const dash = (window.dash_clientside = window.dash_clientside || {});
  const query = (search) => new URLSearchParams((search || "").replace(/^\?/, ""));
  const written = (params) => (params.size ? "?" + params : "");
  const named = (id) => JSON.stringify(Object.fromEntries(Object.entries(id).sort()));

  // Merge choices into the address; an empty value takes one back.
  function merge(params, changes) {
    for (const [name, value] of changes) {
      if (value === "") params.delete(name);
      else params.set(name, value);
    }
    return params;
  }

  function select(changes) {
    const search = written(merge(query(window.location.search), changes));
    if (search !== window.location.search) dash.set_props("url", { search: search });
  }

  // What a control shows, as the text that the address has for it, and back.
  const text = (value, spec) =>
    value === true ? "1"
    : value === false ? (spec.first === "1" ? "off" : "")
    : Array.isArray(value) ? value.join(",") : value || "";
  const shown = (given, kind) =>
    kind === "switch" ? given === "1" : kind === "many" ? given.split(",").filter(Boolean) : given;

  const card = (dash.card = { select: select });

  // The fields that each card uses, as they are now; unchanged ones ask for nothing.
  card.keys = function (search, scheme, declared, held) {
    const params = query(search);
    // What the whole page depends on has changed: it is about to be laid out anew.
    const scope = Object.entries((declared && declared.scope) || {});
    const isOld = scope.some(([name, value]) => (params.get(name) || "") !== value);
    return dash.callback_context.outputs_list.map(function (output, i) {
      if (isOld) return dash.no_update;
      const fields = (declared && declared.cards[output.id.of]) || [];
      const used = new URLSearchParams();
      for (const field of fields) if (params.get(field)) used.set(field, params.get(field));
      const key = { search: written(used), scheme: fields.includes("scheme") ? scheme : "" };
      const old = held[i];
      const same = old && old.search === key.search && old.scheme === key.scheme;
      return same ? dash.no_update : key;
    });
  };

  // What the whole page depends on: the path, and some choices.
  card.scope = function (pathname, search, scopes, held) {
    const params = query(search);
    const fields = scopes[pathname] || [];
    const now = [pathname, ...fields.map((name) => params.get(name) || "")].join(" ");
    return now === held ? dash.no_update : now;
  };

  // Keep controls and the address the same, whichever was changed.
  card.follow = function (values, search, declared) {
    const context = dash.callback_context;
    const items = context.inputs_list[0];
    const changed = new Set(context.triggered.map((one) => one.prop_id));
    const params = query(search);
    const spec = (item) => (declared && declared.controls[item.id.field]) || {};
    const now = (name) =>
      params.get(name) || ((declared && declared.controls[name]) || {}).first || "";
    const wanted = (item) => now(item.id.field);
    const isMine = (item) => (spec(item).kind === "switch") === (item.property === "checked");
    if (!changed.has("url.search")) {
      const changes = [];
      for (const [i, item] of items.entries()) {
        const given = text(values[i], spec(item));
        const mine = isMine(item) && changed.has(named(item.id) + "." + item.property);
        if (!mine || given === wanted(item)) continue;
        changes.push(...spec(item).resets.map((name) => [name, ""]), ...spec(item).sets);
        const twin = spec(item).twin;
        if (twin) {
          // Neither depends any more on what is first where the address is silent.
          changes.push([twin, now(twin) === given ? wanted(item) : now(twin)]);
          changes.push([item.id.field, given]);
        } else changes.push([item.id.field, given === spec(item).first ? "" : given]);
      }
      if (changes.length) select(changes);
      // A list that was emptied shows again what is chosen where the address is silent.
      return items.map(function (item, i) {
        const isBare = spec(item).kind === "many" && isMine(item) && !text(values[i], spec(item));
        return isBare && spec(item).first ? shown(spec(item).first, "many") : dash.no_update;
      });
    }
    return items.map(function (item, i) {
      const same = !isMine(item) || text(values[i], spec(item)) === wanted(item);
      return same ? dash.no_update : shown(wanted(item), spec(item).kind);
    });
  };

  // A point of a figure that carries a query selects it.
  card.click = function () {
    for (const one of dash.callback_context.triggered) {
      const point = one.value && one.value.points && one.value.points[0];
      if (!point) continue;
      const given = Array.isArray(point.customdata) ? point.customdata[0] : point.customdata;
      if (typeof given === "string") select(query(given));
      // A second click on the same point is a click as well.
      dash.set_props(JSON.parse(one.prop_id.slice(0, -".clickData".length)), { clickData: null });
    }
  };

  // Ask again for a card that waits for something.
  card.again = (ticks, key) =>
    ticks ? { ...key, again: (key.again || 0) + 1 } : dash.no_update;

  // Links keep what is chosen besides. Units are numbers of one layer, so on the way to another
  // page both are left behind.
  function target(link) {
    const [path, given] = link.getAttribute("href").split("?");
    const changes = [...query(given)];
    const params = query(window.location.search);
    const isHere = link.dataset.jump === "here";
    if (!isHere && params.get("layer")) {
      for (const name of ["layer", "unit", "units"]) params.delete(name);
    }
    return { path: isHere ? "" : path, changes: changes, search: written(merge(params, changes)) };
  }

  document.addEventListener(
    "click",
    function (event) {
      const link = event.target.closest && event.target.closest("[data-jump]");
      if (!link) return;
      const found = target(link);
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) {
        link.href = found.path + found.search;
        return;
      }
      event.preventDefault();
      if (!found.path) select(found.changes);
      else dash.set_props("url", { pathname: found.path, search: found.search });
      if (found.path) window.scrollTo(0, 0);
    },
    true
  );
  document.addEventListener(
    "auxclick",
    function (event) {
      const link = event.target.closest && event.target.closest("[data-jump]");
      if (link) link.href = target(link).path + target(link).search;
    },
    true
  );
})();
