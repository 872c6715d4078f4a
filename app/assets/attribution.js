// The window of a map's checks is open as long as the address names them.
(function () {
  "use strict";
  const dash = (window.dash_clientside = window.dash_clientside || {});
  const named = (search) => new URLSearchParams(search).get("checks");

  // Whoever uses a keyboard goes on at the badge that opened it, once the window is gone.
  function goBack(checks) {
    for (const badge of document.querySelectorAll("a.trust")) {
      if (named(badge.getAttribute("href").split("?")[1]) === checks) badge.focus();
    }
  }

  dash.attribution = {
    closed: function (opened) {
      const checks = named(window.location.search);
      if (opened !== false || !checks) return;
      dash.card.select([["checks", ""]]);
      window.setTimeout(() => goBack(checks), 300);
    },
  };
})();
