// The menus that take cards away. Entries name a download; the page's own query, which says what
// is looked at, is appended when one is chosen. What happens is said in a live region.
(function () {
  "use strict";

  const address = (path) => path + window.location.search;

  function region() {
    let found = document.getElementById("export-said");
    if (!found) {
      found = document.createElement("div");
      found.id = "export-said";
      found.className = "export-said";
      found.setAttribute("role", "status");
      found.setAttribute("aria-live", "polite");
      document.body.appendChild(found);
    }
    return found;
  }

  let timer = 0;
  function say(text, milliseconds) {
    const place = region();
    window.clearTimeout(timer);
    place.textContent = text;
    place.classList.toggle("shown", Boolean(text));
    if (milliseconds) {
      timer = window.setTimeout(() => say("", 0), milliseconds);
    }
  }

  async function asked(path) {
    const answer = await fetch(address(path));
    if (!answer.ok) {
      throw new Error((await answer.text()).trim().slice(0, 400));
    }
    return answer;
  }

  function fileName(answer, path) {
    const found = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") || "");
    return found ? found[1] : path.split("/").pop();
  }

  async function download(path) {
    say("Making the file …", 0);
    const answer = await asked(path);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await answer.blob());
    link.download = fileName(answer, path);
    document.body.appendChild(link);
    link.click();
    link.remove();
    window.setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    say("Downloaded " + link.download, 2500);
  }

  async function copy(path) {
    const text = await (await asked(path)).text();
    try {
      await navigator.clipboard.writeText(text);
      say("Copied", 1500);
    } catch (error) {
      // No clipboard without permission, or without https on another host.
      offer(text);
    }
  }

  function offer(text) {
    const dialog = document.createElement("dialog");
    dialog.className = "export-dialog";
    dialog.setAttribute("aria-label", "Python to copy");
    const area = document.createElement("textarea");
    area.readOnly = true;
    area.value = text;
    area.setAttribute("aria-label", "Python that makes this figure or table");
    const note = document.createElement("p");
    note.textContent = "The browser keeps the clipboard closed. Copy the selected text by hand.";
    const close = document.createElement("button");
    close.type = "button";
    close.textContent = "Close";
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    dialog.append(note, area, close);
    document.body.appendChild(dialog);
    dialog.showModal();
    area.focus();
    area.select();
    say("", 0);
  }

  document.addEventListener("click", function (event) {
    const entry = event.target.closest && event.target.closest("[data-export], [data-copy]");
    if (!entry) {
      return;
    }
    const given = entry.dataset;
    const done = given.copy ? copy(given.copy) : download(given.export);
    done.catch((error) => say(error.message || "The server does not answer.", 8000));
  });

  if (document.body) {
    region();
  } else {
    document.addEventListener("DOMContentLoaded", region);
  }
})();
