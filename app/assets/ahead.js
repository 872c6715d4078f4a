// What the first page does not need is read when it has been drawn and nothing is to be done, so
// that the page after it opens faster. Its head names those scripts as prefetched ones.
(function () {
  "use strict";
  const rest = window.requestIdleCallback || ((call) => setTimeout(call, 200));
  const later = Array.from(document.querySelectorAll('link[rel="prefetch"][as="script"]'));

  function read() {
    if (!later.length) return;
    const script = document.createElement("script");
    script.src = later.shift().href;
    // Where it fails, the page that needs it asks for it again, and says so.
    script.onload = script.onerror = () => rest(read);
    document.head.append(script);
  }

  if (!later.length) return;
  const watch = new MutationObserver(function () {
    const page = document.getElementById("page");
    if (!page || !page.childElementCount) return;
    watch.disconnect();
    setTimeout(() => rest(read), 500);
  });
  watch.observe(document.documentElement, { childList: true, subtree: true });
})();
