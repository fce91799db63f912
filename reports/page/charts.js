// Charts: a static picture becomes an interactive view of the same specification when it comes into sight; a legend's entries become buttons.
(() => {
  "use strict";
  const charts = document.querySelectorAll(".chart");
  if (!charts.length || !window.vegaEmbed || !window.IntersectionObserver) return;

  // The data stand in the page once: as the CSV behind the chart's link.
  const parse = (text, numbers) => {
    const lines = [[]];
    for (const [, cell, end] of text.matchAll(/("(?:[^"]|"")*"|[^,\n]*)(,|\n|$)/g)) {
      lines.at(-1).push(cell.startsWith('"') ? cell.slice(1, -1).replaceAll('""', '"') : cell);
      if (end === "\n") lines.push([]);
    }
    const columns = lines.shift();
    return lines
      .filter((line) => line.length >= columns.length)
      .map((line) =>
        Object.fromEntries(columns.map((column, i) => [column, numbers.has(column) ? (line[i] === "" ? null : Number(line[i])) : line[i] || null])),
      );
  };
  const decode = (link) => {
    const bytes = atob(link.getAttribute("href").split(",")[1]);
    return new TextDecoder().decode(Uint8Array.from(bytes, (character) => character.charCodeAt(0)));
  };

  const states = new Map();
  const stateOf = (chart) => {
    if (!states.has(chart)) {
      const figure = JSON.parse(chart.querySelector("script.spec").textContent);
      const rows = parse(decode(chart.querySelector("a.data")), new Set(figure.numbers));
      states.set(chart, { figure, rows, off: new Set(), views: [] });
    }
    return states.get(chart);
  };

  // What is under the pointer, as text.
  const tip = document.createElement("div");
  tip.className = "chart-tip";
  tip.hidden = true;
  tip.setAttribute("role", "tooltip");
  document.body.append(tip);
  const show = (_, event, __, value) => {
    tip.hidden = value === null || value === undefined || value === "";
    if (tip.hidden) return;
    const list = document.createElement("dl");
    for (const [name, text] of Object.entries(typeof value === "object" ? value : { "": value })) {
      if (text === "null" || text === "" || text === "undefined") continue;
      const words = [document.createElement("dt"), document.createElement("dd")];
      words[0].textContent = name;
      words[1].textContent = text;
      list.append(...words);
    }
    tip.replaceChildren(list);
    const box = tip.getBoundingClientRect();
    const left = event.clientX + 14 + box.width > innerWidth ? event.clientX - 14 - box.width : event.clientX + 14;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - box.height - 4))}px`;
  };
  addEventListener("scroll", () => (tip.hidden = true), { passive: true });

  const draw = async (panel) => {
    const chart = panel.closest(".chart");
    const state = stateOf(chart);
    const { spec: which, values, label } = state.figure.panels[[...chart.querySelectorAll(".panel")].indexOf(panel)];
    const spec = structuredClone(state.figure.specs[which]);
    spec.description = label;
    for (const signal of spec.signals) if (signal.name in values) signal.value = values[signal.name];
    spec.data.find((source) => source.name === "rows").values = state.rows.map((row) => ({ ...row }));
    const place = document.createElement("div");
    place.className = "view";
    panel.append(place);
    const { view } = await vegaEmbed(place, spec, {
      mode: "vega",
      renderer: "svg",
      ast: true,
      expr: window.vegaInterpreter,
      actions: false,
      defaultStyle: false,
      logLevel: 1, // errors: a panel whose series are all switched off has no extent, and need not say so
      tooltip: show,
    });
    await hide(view, state.off);
    state.views.push(view);
    panel.classList.add("live");
  };

  const hide = async (view, off) => {
    await view.signal("hidden", [...off]).runAsync();
    for (const empty of view.container().querySelectorAll("g[role]:empty")) empty.removeAttribute("role"); // an image of nothing has no words
  };

  const update = (chart) => {
    const { off, views } = stateOf(chart);
    for (const button of chart.querySelectorAll(".legend button")) button.setAttribute("aria-pressed", String(!off.has(button.dataset.off)));
    for (const panel of chart.querySelectorAll(".panel[data-series]")) panel.hidden = off.has(panel.dataset.series);
    for (const view of views) hide(view, off);
  };

  const seen = new IntersectionObserver(
    (entries) => {
      for (const { target } of entries.filter((entry) => entry.isIntersecting)) {
        seen.unobserve(target);
        draw(target).catch((error) => console.error(error)); // the static picture stays
      }
    },
    { rootMargin: "300px" },
  );

  for (const chart of charts) {
    if (!chart.querySelector("script.spec")) continue;
    for (const panel of chart.querySelectorAll(".panel")) seen.observe(panel);
    const items = [...chart.querySelectorAll(".legend [data-off]")];
    for (const item of items) {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.off = item.dataset.off;
      button.title = "switch on and off; with Shift: this one alone, or all";
      button.setAttribute("aria-pressed", "true");
      button.append(...item.childNodes);
      item.append(button);
      button.addEventListener("click", (event) => {
        const { off } = stateOf(chart);
        const name = item.dataset.off;
        const others = items.map((one) => one.dataset.off).filter((one) => one !== name);
        if (event.shiftKey) {
          const alone = !off.has(name) && others.every((one) => off.has(one));
          off.clear();
          if (!alone) others.forEach((one) => off.add(one));
        } else if (!off.delete(name)) off.add(name);
        update(chart);
      });
    }
  }
})();
