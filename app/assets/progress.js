// Ask how far a run is only from a page that is seen.
(function () {
  "use strict";
  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.probe = Object.assign(window.dash_clientside.probe || {}, {
    visible: (ticks) => (document.hidden ? window.dash_clientside.no_update : ticks),
  });
})();
