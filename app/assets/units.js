// Rows of the list of units come in blocks. A block that arrives may hold the unit that is looked
// at, and the grid marks only rows that it has: so it is told again after each block.
(function () {
  "use strict";
  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.units = {
    mark: function (response, unit) {
      // The grid clears the response when it has taken it in.
      if (response || unit === null || unit === undefined) {
        return window.dash_clientside.no_update;
      }
      return { ids: [String(unit)] };
    },

    // How the list is sorted and filtered, told only when that changes.
    order: function (request, before) {
      if (!request) return window.dash_clientside.no_update;
      const now = { sortModel: request.sortModel || [], filterModel: request.filterModel || {} };
      const same = JSON.stringify(now) === JSON.stringify(before);
      return same ? window.dash_clientside.no_update : now;
    },

    // A row that a visitor selects; the grid also reports the one that the page marks.
    select: function (rows, marked) {
      const row = Array.isArray(rows) && rows[0];
      if (!row || row.unit === undefined || row.unit === marked) return;
      // In sight already: the list is not to be scrolled to it.
      window.dash_clientside.set_props("neurons-marked", { data: row.unit });
      window.dash_clientside.card.select([["unit", String(row.unit)]]);
    },
  };
})();
