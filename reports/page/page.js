// What the page's frame does: contents that follow, light and dark, and opening what a link leads to. Without it all of it can be read.
(() => {
  "use strict";
  const root = document.documentElement;

  // Light, dark, or as the system has it. Where the browser keeps nothing for a file, the choice lasts as long as the page.
  const themes = ["auto", "light", "dark"];
  const button = document.getElementById("theme");
  let theme = "auto";
  const kept = (value) => {
    try {
      if (value === undefined) return localStorage.getItem("bionas-theme");
      localStorage.setItem("bionas-theme", value);
    } catch { /* no storage */ }
    return null;
  };
  const choose = (chosen) => {
    theme = themes.includes(chosen) ? chosen : "auto";
    if (theme === "auto") root.removeAttribute("data-theme"); else root.setAttribute("data-theme", theme);
    button.textContent = `Theme: ${theme}`;
    document.dispatchEvent(new CustomEvent("themechange", { detail: theme }));
  };
  choose(kept());
  button.hidden = false;
  button.addEventListener("click", () => {
    choose(themes[(themes.indexOf(theme) + 1) % themes.length]);
    kept(theme);
  });

  // The section in view is marked in the contents.
  const bar = document.querySelector("#contents div");
  const links = new Map([...bar.querySelectorAll("a")].map((link) => [document.getElementById(link.hash.slice(1)), link]));
  links.delete(null);
  let current;
  const follow = () => {
    const line = Math.max(120, innerHeight / 4);
    const passed = [...links.keys()].filter((target) => target.getBoundingClientRect().top <= line);
    const end = scrollY + innerHeight >= root.scrollHeight - 4;
    const link = links.get(end ? [...links.keys()].pop() : passed.pop());
    if (link === current) return;
    current?.removeAttribute("aria-current");
    link?.setAttribute("aria-current", "true");
    current = link;
    if (link && bar.scrollWidth > bar.clientWidth && !bar.matches(":hover")) bar.scrollTo({ left: link.offsetLeft - 40 });
  };
  let waiting = false;
  addEventListener("scroll", () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; follow(); });
  }, { passive: true });
  addEventListener("resize", follow);
  follow();

  // A link opens whatever its target is folded into, and its target stays in view while charts are drawn above it, until somebody moves.
  let target = null;
  const reveal = () => {
    let id = location.hash.slice(1).split("&")[0]; // what follows is a table's state
    try { id = decodeURIComponent(id); } catch { /* as it stands */ }
    target = id ? document.getElementById(id) : null;
    let opened = false;
    for (let at = target; at; at = at.parentElement) {
      if (at.tagName === "DETAILS" && !at.open) opened = at.open = true;
    }
    if (opened) stay();
  };
  const stay = () => (target?.closest(".dt-container") ?? target)?.scrollIntoView();
  addEventListener("hashchange", reveal);
  for (const moved of ["wheel", "touchmove", "keydown", "pointerdown"]) addEventListener(moved, () => { target = null; }, { passive: true });
  new ResizeObserver(stay).observe(document.querySelector("main"));
  reveal();

  // On paper everything is unfolded, but for lists of runs that would fill a ream.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")].filter((one) => !one.closest(".tools") && one.querySelectorAll("tr").length <= 400);
    folded.forEach((one) => { one.open = true; });
  });
  addEventListener("afterprint", () => { folded.forEach((one) => { one.open = false; }); });
})();
