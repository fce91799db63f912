// Tables with a row a run, which are packed (long.py): unpacked when they are unfolded, or a link asks for them; tables.js does the rest.
(() => {
  "use strict";
  const ID = /^(.*seed\d+)-(?:(.+)-)?([0-9a-f]{8})$/; // as writing.shortened has it

  const unpack = async (text) => {
    const bytes = Uint8Array.from(atob(text.trim()), (sign) => sign.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  };

  // A cell is what tables.js takes of a cell of the page: its text, and its numbers in full.
  const row = (columns, i) => {
    const cells = columns.map((column) => {
      const dataset = {};
      for (const part of ["order", "low", "high"]) if (column[part] && (part === "order" || column[part][i] !== "")) dataset[part] = column[part][i];
      const text = column.texts[i];
      return { column, dataset, text, textContent: column.rules?.[text]?.[0] ?? text };
    });
    return { cells, textContent: cells.filter((cell) => cell.column.kind !== "command").map((cell) => cell.textContent).join(" ") }; // what is searched
  };
  const shown = ({ column, text, textContent }) => {
    const { make } = window.reportTables;
    if (column.kind === "command") return make("div", {}, make("code", { tabindex: "0" }, text), copier());
    if (column.kind === "bad") return make("span", { class: text.replace("†", "") === "ok" ? false : "bad" }, text);
    if (column.kind === "rule") return text ? make("span", {}, swatch(column.rules[text][1]), textContent) : "";
    if (column.kind !== "run") return make("span", {}, text);
    const [, head = text, settings, digest] = ID.exec(text) ?? [];
    const parts = head.split("/").flatMap((part, i) => (i ? ["/", make("wbr"), part] : [part]));
    return make("code", { title: text }, ...parts, ...(digest ? [make("span", { class: "folded" }, settings ? `-${settings}-` : "-"), digest] : []));
  };
  const swatch = (colour) => {
    const found = window.reportTables.make("span", { class: "swatch" });
    found.style.background = colour;
    return found;
  };

  // A button beside every command, whose word is no part of the cell's text: neither searched nor exported.
  const copier = () => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copier";
    button.setAttribute("aria-label", "Copy the command");
    return button;
  };
  for (const code of document.querySelectorAll("td.command code")) code.after(copier());
  document.addEventListener("click", async ({ target }) => {
    const button = target.closest?.("button.copier");
    if (!button) return;
    await window.reportTables.copy(button.closest("table").id, button.parentNode.querySelector("code").textContent, "command");
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 2000);
  });

  for (const script of document.querySelectorAll("script[data-table]")) {
    const table = document.getElementById(script.dataset.table);
    const folded = table.closest("details");
    let begun = false;
    const begin = async (state) => {
      if (begun) return;
      begun = true;
      const text = await unpack(script.textContent);
      if ("written" in script.dataset) { // rows as the page would have them
        table.tBodies[0].innerHTML = text;
        window.reportTables.add(table);
      } else {
        const columns = JSON.parse(text);
        const names = columns.map((column) => (column.order ? "num" : column.kind === "bad" ? "" : column.kind));
        window.reportTables.add(table, { rows: columns[0].texts.map((_text, i) => row(columns, i)), names, shown });
      }
      folded.querySelector("p.packed")?.remove();
      if (state) location.hash = state; // once more, now that there is a table to read it
    };
    const asked = () => { if (location.hash.includes(`${table.id}.`)) begin(location.hash); };
    folded.addEventListener("toggle", () => { if (folded.open) begin(""); });
    addEventListener("hashchange", asked);
    asked();
  }
})();
