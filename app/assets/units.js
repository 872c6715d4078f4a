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

    // A link may name a unit far down: the list is brought there once it has its first rows.
    begin: function (response, row) {
      const none = window.dash_clientside.no_update;
      if (response || row === null || row === undefined) return [none, none];
      return [row > 0 ? { rowIndex: row, rowPosition: "middle" } : none, null];
    },
  };
})();
