// Tables that sort, filter, hide columns and export what is displayed; a view of them is a link. Without this all of them can be read.
(() => {
  "use strict";
  const SORTED = 3; // rows from which on there is something to sort or choose
  const SEARCHED = 20; // and to search in
  const PAGED = 200;

  const words = (node) => node.textContent.replace(/\s+/g, " ").trim();
  const slug = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");

  // Numbers by their full value and words by their text, with numbers in them in order. What is missing comes last, either way.
  const collator = new Intl.Collator("en", { numeric: true });
  const box = document.createElement("template"); // inert: nothing in it loads or runs
  const last = (sign, compare) => (a, b) => (a === null ? (b === null ? 0 : 1) : b === null ? -1 : sign * compare(a, b));
  const number = (text) => (text === "" ? null : text === "inf" ? Infinity : text === "-inf" ? -Infinity : Number(text));
  const text = (html) => { box.innerHTML = html; return words(box.content) || null; };
  const escaped = (words) => words.replace(/[&<]/g, (sign) => (sign === "&" ? "&amp;" : "&lt;"));
  const smaller = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  DataTable.type("measured", { order: { pre: number, asc: last(1, smaller), desc: last(-1, smaller) } });
  DataTable.type("words", { order: { pre: text, asc: last(1, collator.compare), desc: last(-1, collator.compare) } });

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children);
    return element;
  };

  // What is displayed, as text. Readers get what they see, machines the numbers in full.
  const SIGNS = {
    "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "&": "\\&", "%": "\\%", "$": "\\$", "#": "\\#", "_": "\\_",
    "~": "\\textasciitilde{}", "^": "\\textasciicircum{}",
    "<": "$<$", ">": "$>$", "|": "$|$", "±": "$\\pm$", "≤": "$\\le$", "≥": "$\\ge$", "×": "$\\times$", "÷": "$\\div$", "·": "$\\cdot$",
    "→": "$\\to$", "−": "$-$", "∞": "$\\infty$", "√": "$\\surd$", "‖": "$\\|$",
    "–": "--", "—": "---", "†": "\\dag{}", "…": "\\dots{}", "α": "$\\alpha$", "ε": "$\\varepsilon$", "σ": "$\\sigma$", "τ": "$\\tau$",
    "ρ": "$\\rho$", "Δ": "$\\Delta$", "“": "``", "”": "''", "‘": "`", "’": "'",
  };
  for (const [i, sign] of [..."⁰¹²³⁴⁵⁶⁷⁸⁹"].entries()) SIGNS[sign] = `$^{${i}}$`;
  SIGNS["⁻"] = "$^{-}$";
  const latex = (shown) => [...shown].map((sign) => SIGNS[sign] ?? sign).join("").replace(/\}\$\$\^\{/g, "").replace(/^\[/, "{[}");
  const markdown = (shown) => shown
    .replace(/[\\`*_|<>~]/g, "\\$&").replace(/&/g, "&amp;").replace(/\[(?![-+−\d])/g, "\\[").replace(/\](?=[([:])/g, "\\]");
  const isNumber = (value) => /^[-+]?(\d+\.?\d*([eE][-+]?\d+)?|inf)$/.test(value);
  const csv = (value) => {
    const safe = /^[=+\-@\t\r]/.test(value) && !isNumber(value) ? `'${value}` : value; // no spreadsheet takes it for a formula
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const PARTS = { order: "", sd: " sd", low: " low", high: " high" };
  const FORMATS = {
    CSV: {
      ending: "csv",
      type: "text/csv",
      write(columns, rows) {
        const parts = columns.flatMap((column, i) => {
          if (!column.numeric) return [{ title: column.title, of: (row) => words(row[i]) }];
          const has = Object.keys(PARTS)
            .filter((part) => rows.some((row) => part in row[i].dataset) && !(column.interval && part === "order"));
          if (!has.length) return [{ title: column.title, of: (row) => words(row[i]) }];
          return has.map((part) => ({ title: column.title + PARTS[part], of: (row) => row[i].dataset[part] ?? "" }));
        });
        return [parts.map((part) => part.title), ...rows.map((row) => parts.map((part) => part.of(row)))]
          .map((line) => `${line.map(csv).join(",")}\n`).join("");
      },
    },
    LaTeX: {
      ending: "tex",
      type: "text/x-tex",
      write(columns, rows, from) {
        const line = (cells) => `  ${cells.map(latex).join(" & ")} \\\\`;
        return [
          `% ${from}; needs \\usepackage{booktabs}`,
          `\\begin{tabular}{${columns.map((column) => (column.numeric ? "r" : "l")).join("")}}`, "  \\toprule",
          line(columns.map((column) => column.title)), "  \\midrule",
          ...rows.map((row) => line(row.map(words))), "  \\bottomrule", "\\end{tabular}", "",
        ].join("\n");
      },
    },
    Markdown: {
      ending: "md",
      type: "text/markdown",
      write(columns, rows) {
        const line = (cells) => `| ${cells.join(" | ")} |\n`;
        const cells = rows.map((row) => row.map((cell) => markdown(words(cell))));
        return [columns.map((column) => markdown(column.title)), columns.map((column) => (column.numeric ? "---:" : "---")), ...cells]
          .map(line).join("");
      },
    },
  };
  const download = (name, type, content) => {
    const url = URL.createObjectURL(new Blob([content], { type: `${type};charset=utf-8` }));
    make("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  };
  const copy = async (content) => {
    try {
      await navigator.clipboard.writeText(content);
    } catch { // not allowed to, or an old browser
      const at = document.activeElement;
      const area = make("textarea", { class: "copied", "aria-hidden": "true" });
      area.value = content;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
      at?.focus();
    }
  };

  // One table, its tools, and what of its state departs from how the page was written.
  class View {
    constructor(table, packed = null) { // of a packed table (runs.js): rows that are no part of the page, and what shows a cell of them
      this.table = table;
      this.packed = packed;
      this.id = table.id;
      this.columns = [...table.tHead.rows[0].cells].map((head, index) => ({
        index, title: words(head), numeric: head.classList.contains("num"), interval: "interval" in head.dataset,
        filter: head.dataset.filter,
      }));
      const rows = packed?.rows ?? [...table.tBodies[0].rows];
      this.total = rows.length;
      this.label = table.closest(".scroll").getAttribute("aria-label");
      this.filters = new Map();
      for (const { filter, index, title } of this.columns) {
        if (!filter || this.filters.has(filter) || rows.length < SORTED) continue;
        const of = rows.map((row) => words(row.cells[index]).replace(/ ?†$/, ""));
        const values = [...new Set(of)].sort(collator.compare);
        if (values.length > 1) this.filters.set(filter, { title, of, values, chosen: new Set(), boxes: new Map() });
      }
      this.query = "";
      const texts = rows.length > SEARCHED ? rows.map((row) => words(row).toLowerCase()) : null;
      const scroll = table.closest(".scroll");
      this.api = new DataTable(table, {
        autoWidth: false, order: [], ordering: rows.length >= SORTED, paging: rows.length > PAGED, pageLength: 100,
        lengthChange: false, info: rows.length > PAGED, orderClasses: false,
        layout: {
          topStart: null, topEnd: null,
          bottomStart: rows.length > PAGED ? "info" : null, bottomEnd: rows.length > PAGED ? "paging" : null },
        columns: this.columns.map(({ numeric }, i) => ({
          type: numeric && rows.every((row) => "order" in row.cells[i].dataset) ? "measured" : "words",
          ...(packed && {
            data: (row, kind) => (kind === "display" ? packed.shown(row.cells[i])
              : kind === "filter" ? "" : row.cells[i].dataset.order ?? escaped(row.cells[i].textContent)),
            className: packed.names[i] }),
        })),
        ...(packed && { data: packed.rows, deferRender: true }),
        language: { zeroRecords: "No row is left by these filters", emptyTable: "None" },
      });
      const container = this.api.table().container();
      scroll.before(container); // so that what scrolls is the table alone
      table.before(scroll);
      scroll.append(table);
      this.api.search.fixed("view", (_text, _data, row) =>
        [...this.filters.values()].every(({ chosen, of }) => !chosen.size || chosen.has(of[row]))
        && (!this.query || this.query.toLowerCase().split(/\s+/).every((term) => texts[row].includes(term))));
      container.prepend(this.tools(texts));
      container.querySelector("nav")?.setAttribute("aria-label", `Pages of the table: ${this.label}`);
      this.api.on("order", () => changed(this));
    }

    tools(texts) {
      const tools = make("div", { class: "tools", role: "group", "aria-label": `Tools of the table: ${this.label}` });
      if (texts) {
        this.search = make("input", {
          type: "search", placeholder: "Search", "aria-label": `Search in ${this.label}`,
          oninput: () => { this.query = this.search.value.trim(); this.draw(); } });
        tools.append(this.search);
      }
      for (const filter of this.filters.values()) {
        const choose = (value, on) => { if (on) filter.chosen.add(value); else filter.chosen.delete(value); this.draw(); };
        [filter.menu, filter.summary] = this.menu(filter.title, filter.values.map((value) => {
          const [label, box] = this.check(value || "none", false, (on) => choose(value, on));
          filter.boxes.set(value, box);
          return label;
        }));
        tools.append(filter.menu);
      }
      if (this.total >= SORTED) {
        const lines = this.columns.slice(1).map((column) => { // the first says whose row it is
          const [label, box] = this.check(column.title, true, (on) => { this.api.column(column.index).visible(on); changed(this); });
          column.box = box;
          return label;
        });
        tools.append(this.menu("columns", lines)[0]);
      }
      tools.append(this.menu("export", Object.entries(FORMATS).map(([name, format]) => make("div", { class: "format" },
        make("span", {}, name),
        make("button", {
          type: "button", "aria-label": `Download ${name}`,
          onclick: () => download(
            `${slug(document.title)}-${this.table.dataset.name}.${format.ending}`, format.type, this.written(format)) },
        "download"),
        make("button", {
          type: "button", "aria-label": `Copy ${name}`,
          onclick: async () => { await copy(this.written(format)); this.say(`${name} copied`); } },
        "copy"))))[0]);
      this.link = make("button", {
        type: "button", hidden: true,
        onclick: async () => { await copy(`${location.href.split("#")[0]}#${hash(this.id)}`); this.say("link copied"); } },
      "copy link to this view");
      this.undo = make("button", {
        type: "button", hidden: true,
        onclick: () => { this.set({}); changed(this); tools.querySelector("input, summary").focus(); } },
      "reset");
      this.status = make("span", { role: "status" });
      tools.append(this.link, this.undo, this.status);
      return tools;
    }

    menu(title, lines) {
      const summary = make("summary", {}, title);
      const menu = make("details", {
        onkeydown: (event) => {
          if (event.key === "Escape" && menu.open) { menu.open = false; summary.focus(); event.stopPropagation(); } } }, summary,
        make("div", { class: "panel", role: "group", "aria-label": title }, ...lines));
      return [menu, summary];
    }

    check(words, checked, choose) {
      const box = make("input", { type: "checkbox", checked, onchange: () => choose(box.checked) });
      return [make("label", {}, box, make("span", {}, words)), box];
    }

    draw() { this.api.draw(); changed(this); }

    say(words) {
      this.status.textContent = words;
      clearTimeout(this.silence);
      this.silence = setTimeout(() => this.show(), 4000);
    }

    // Write down what differs from the default; `set` reads it, and takes nothing that this table does not have.
    state() {
      const state = {};
      const order = this.api.order().filter(([, direction]) => direction);
      if (order.length) state.sort = order.map(([column, direction]) => `${column}${direction[0]}`).join(",");
      const hidden = this.columns.filter(({ index }) => !this.api.column(index).visible());
      if (hidden.length) state.hide = hidden.map(({ index }) => index).join(",");
      if (this.query) state.search = encodeURIComponent(this.query);
      for (const [name, { values, chosen }] of this.filters) {
        if (chosen.size) state[name] = values.filter((value) => chosen.has(value)).map(encodeURIComponent).join(",");
      }
      return state;
    }

    set(state) {
      const listed = (name) => (Object.hasOwn(state, name) ? state[name].split(",") : []);
      for (const [name, filter] of this.filters) {
        filter.chosen = new Set(listed(name).map(decoded).filter((value) => filter.boxes.has(value)));
        for (const [value, box] of filter.boxes) box.checked = filter.chosen.has(value);
      }
      if (this.search) this.search.value = this.query = decoded(listed("search").join(",")).slice(0, 200).trim();
      const hidden = new Set(listed("hide"));
      for (const { index, box } of this.columns) {
        if (!box) continue;
        box.checked = !hidden.has(String(index));
        if (this.api.column(index).visible() !== box.checked) this.api.column(index).visible(box.checked, false);
      }
      const order = listed("sort").map((one) => /^(\d{1,3})([ad])$/.exec(one))
        .filter((found) => found && this.total >= SORTED && found[1] < this.columns.length);
      this.api.order(order.map(([, column, direction]) => [Number(column), direction === "a" ? "asc" : "desc"])).draw();
    }

    // Say what is chosen where it was chosen.
    show() {
      const departs = Object.keys(this.state()).length > 0;
      this.link.hidden = this.undo.hidden = !departs;
      for (const { title, chosen, summary } of this.filters.values()) {
        summary.textContent = chosen.size ? `${title} (${chosen.size})` : title;
        summary.classList.toggle("chosen", chosen.size > 0);
      }
      const shown = this.api.rows({ search: "applied" }).count();
      this.status.textContent = shown < this.total ? `${shown} of ${this.total} rows` : "";
    }

    written(format) {
      const columns = this.columns.filter(({ index }) => this.api.column(index).visible());
      const cell = (row, index) => this.packed?.rows[row].cells[index] ?? this.api.cell(row, index).node();
      const rows = this.api.rows({ search: "applied", order: "applied" }).indexes().toArray()
        .map((row) => columns.map(({ index }) => cell(row, index)));
      return format.write(columns, rows, `${this.label.replace(/\s+/g, " ")}: ${words(document.head.querySelector("title"))}`);
    }
  }

  const decoded = (value) => {
    try { return decodeURIComponent(value); } catch { return ""; }
  };

  // The page's state, behind the #: `section&table.sort=2d&table.hide=4,5&table.rule=FA`.
  const views = new Map();
  let quiet = false;
  let anchor = "";
  const hash = (at) => [
    at,
    ...[...views.values()].flatMap((view) => Object.entries(view.state()).map(([name, value]) => `${view.id}.${name}=${value}`))]
    .filter(Boolean).join("&");
  const note = () => {
    const now = hash(anchor);
    try { history.replaceState(history.state, "", now ? `#${now}` : location.href.split("#")[0]); }
    catch { /* a page without an address of its own */ }
  };
  function changed(view) {
    if (quiet || !views.has(view.id)) return;
    view.show();
    note();
  }
  const read = () => {
    const wanted = new Map();
    anchor = "";
    for (const part of location.hash.slice(1).split("&")) {
      const [place, ...value] = part.split("=");
      const [id, name] = [place.slice(0, place.lastIndexOf(".")), place.slice(place.lastIndexOf(".") + 1)];
      if (!value.length) anchor ||= part;
      else if (begun(id)) wanted.set(id, { ...wanted.get(id), [name]: value.join("=") });
    }
    return wanted;
  };
  const restore = (always) => {
    const stateful = location.hash.includes("=");
    const wanted = read();
    if (stateful) {
      quiet = true;
      for (const view of views.values()) {
        view.set(wanted.get(view.id) ?? {});
        view.show();
      }
      quiet = false;
    }
    if (stateful || views.size) note(); // a link within the page leaves the tables as they are
    const target = document.getElementById(anchor) ?? document.getElementById(decoded(anchor));
    let folded = false;
    for (const seen of [target, ...[...wanted.keys()].map((id) => views.get(id).table)]) {
      for (let at = seen; at; at = at.parentElement) if (at.tagName === "DETAILS" && !at.open) folded = at.open = true;
    }
    if (target && (stateful || folded || always)) (target.closest(".dt-container") ?? target).scrollIntoView();
  };

  // Long tables that are folded begin when they are unfolded, or a link asks for them.
  const waiting = new Map();
  let printing = false;
  const begun = (id) => {
    if (waiting.has(id)) {
      views.set(id, new View(waiting.get(id)));
      waiting.delete(id);
    }
    return views.has(id);
  };
  for (const table of document.querySelectorAll("table.data")) {
    const rows = table.tBodies[0]?.rows.length ?? 0;
    if (!table.id || !table.tHead || !rows) continue;
    waiting.set(table.id, table);
    const folded = rows > PAGED && table.closest("details:not([open])");
    if (!folded) begun(table.id);
    else folded.addEventListener("toggle", () => { if (folded.open && !printing) begun(table.id); });
  }
  if (location.hash) restore(true);
  addEventListener("hashchange", () => restore(false));
  addEventListener("load", () => { if (location.hash.includes("=")) restore(true); });
  for (const leaving of ["pointerdown", "focusin"]) {
    document.addEventListener(leaving, (event) => {
      for (const menu of document.querySelectorAll(".tools details[open]")) if (!menu.contains(event.target)) menu.open = false;
    });
  }
  const pages = (length) => {
    for (const view of views.values()) if (view.total > PAGED && !view.packed) view.api.page.len(length).draw(false); };
  addEventListener("beforeprint", () => { printing = true; pages(-1); });
  addEventListener("afterprint", () => { printing = false; pages(100); });
  window.reportTables = {
    add: (table, packed) => views.set(table.id, new View(table, packed)),
    async copy(id, content, what) {
      await copy(content);
      views.get(id)?.say(`${what} copied`);
    },
    make,
  };
})();
