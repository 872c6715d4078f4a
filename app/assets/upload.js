// What the component for uploads leaves out: a name for its field, and a word when the browser
// keeps a file back because it is too large or of another type.
(function () {
  const LARGEST = 10 * 1024 * 1024;
  const TYPES = ["image/png", "image/jpeg", "image/webp"];
  function look(files) {
    const said = document.getElementById("sample-upload-refused");
    if (!said || !files || !files.length) return;
    const file = files[0];
    said.hidden = file.size <= LARGEST && TYPES.includes(file.type) && files.length === 1;
  }
  function inside(target) {
    return target instanceof Element && target.closest("#sample-upload");
  }
  document.addEventListener("change", (event) => {
    if (inside(event.target) && event.target.type === "file") look(event.target.files);
  }, true);
  document.addEventListener("drop", (event) => {
    if (inside(event.target) && event.dataTransfer) look(event.dataTransfer.files);
  }, true);
  function name() {
    const field = document.querySelector("#sample-upload input[type=file]:not([aria-label])");
    if (!field) return;
    field.setAttribute("aria-label", "Image file");
    // The button beside it opens the same dialogue, and one stop for the Tab key is enough.
    field.tabIndex = -1;
  }
  new MutationObserver(name).observe(document, { childList: true, subtree: true });
})();
