// Parts of a page that nothing changes from within: one component for Dash, plain elements for
// React. The tree is that of the components themselves, as the server has it; see
// components/fixed.py.
(function () {
  "use strict";
  const HTML = "dash_html_components";
  const isPart = (value) => Boolean(value && value.namespace && value.type);
  // What others' components tell Dash, nobody here asks for.
  const setProps = () => {};

  function draw(part, key) {
    if (Array.isArray(part)) return part.map(draw);
    if (!isPart(part)) return typeof part === "boolean" ? null : part;
    const { children, ...given } = part.props;
    const inside = Array.isArray(children) ? children.map(draw) : draw(children);
    if (part.namespace === HTML) {
      return window.React.createElement(part.type.toLowerCase(), { key, ...given }, inside);
    }
    const props = Object.fromEntries(
      Object.entries(given).map(([name, value]) => [name, isPart(value) ? draw(value) : value])
    );
    const kind = window[part.namespace][part.type];
    return window.React.createElement(kind, { key, ...props, setProps }, inside);
  }

  window.probe_parts = { Fixed: ({ tree }) => draw(tree) };
})();
