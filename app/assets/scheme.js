// Tell figures, which the server draws, the scheme that the page is shown in: by the visitor's
// preference or an earlier visit at first, then by the switch. The switch itself reports "light"
// until it is used, whatever the page shows.
(function () {
  "use strict";
  const root = document.documentElement;
  const attribute = "data-mantine-color-scheme";
  const scheme = () => root.getAttribute(attribute) || "light";

  window.dash_clientside = window.dash_clientside || {};
  window.dash_clientside.probe = Object.assign(window.dash_clientside.probe || {}, { scheme });

  new MutationObserver(function () {
    // Before the page is laid out there is nothing to tell; the callback above reads it then.
    if (document.getElementById("page")) {
      window.dash_clientside.set_props("scheme", { data: scheme() });
    }
  }).observe(root, { attributes: true, attributeFilter: [attribute] });
})();
