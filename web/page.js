// Progressive enhancement: every view is complete without this script.
(() => {
  "use strict";
  const said = (words) => { document.getElementById("said").textContent = words; };

  // Light or dark: the system's setting, until the visitor chooses.
  const root = document.documentElement;
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);
  const button = document.getElementById("theme");
  const name = () => { button.textContent = isDark() ? "Light" : "Dark"; button.title = "Switch to " + (isDark() ? "light" : "dark"); };
  button.hidden = false;
  name();
  prefersDark.addEventListener("change", name);
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    document.cookie = "kindred-theme=" + root.dataset.theme + "; Path=/; Max-Age=31536000; SameSite=Lax";
    name();
  });

  // Replaces only the nodes that differ, so that focus, selection and typed text survive.
  const change = (from, to) => {
    if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName) { from.replaceWith(to.cloneNode(true)); return; }
    if (from.nodeType !== 1) { if (from.data !== to.data) from.data = to.data; return; }
    if (/^(FORM|INPUT|SELECT|TEXTAREA)$/.test(from.nodeName)) return;
    for (const { name: one } of [...from.attributes]) if (!to.hasAttribute(one) && one !== "open") from.removeAttribute(one);
    for (const { name: one, value } of to.attributes) if (from.getAttribute(one) !== value) from.setAttribute(one, value);
    const [old, fresh] = [[...from.childNodes], [...to.childNodes]];
    fresh.forEach((node, at) => (at < old.length ? change(old[at], node) : from.append(node.cloneNode(true))));
    old.slice(fresh.length).forEach((node) => node.remove());
  };

  let asked = 0;
  const show = async (address) => {
    const mine = ++asked;
    const answer = await fetch(address, { headers: { accept: "text/html" }, credentials: "same-origin" });
    // After signing out, requests are redirected to the sign-in view.
    if (answer.redirected) { location.assign(answer.url); return false; }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (mine !== asked || !fresh.getElementById("main")) return false;
    change(document.getElementById("main"), fresh.getElementById("main"));
    document.title = fresh.title;
    return true;
  };

  // Keeps views up to date: by the stream of activity, else every few seconds; not while the tab is hidden.
  const main = document.getElementById("main");
  const POLL = 5000;
  let timer = 0, stream = null, shown = 0;
  const refresh = () => { shown = Date.now(); return show(location.href).catch(() => {}); };
  const watch = () => {
    clearInterval(timer);
    if (stream) { stream.close(); stream = null; }
    if (document.hidden) return;
    if (main.dataset.live === "stream") {
      stream = new EventSource("/v1/activity/stream");
      stream.addEventListener("activity", () => { if (Date.now() - shown > 900) { main.dataset.fresh = "yes"; refresh(); } });
    } else if (main.dataset.live === "poll") {
      timer = setInterval(refresh, POLL);
    }
  };
  document.addEventListener("visibilitychange", watch);
  addEventListener("pagehide", () => { if (stream) stream.close(); });
  watch();

  // Search as you type: updates the address too, without empty fields.
  const address = (form) => {
    const fields = [...new FormData(form)].filter(([, value]) => value !== "");
    const query = new URLSearchParams(fields).toString();
    return form.getAttribute("action") + (query ? "?" + query : "");
  };
  let typed = 0;
  const search = (form) => show(address(form)).then((is) => {
    if (!is) return;
    history.replaceState(null, "", address(form));
    const found = document.querySelector(".pager span");
    if (found) said(found.textContent);
  }).catch(() => {});
  document.addEventListener("input", (event) => {
    const form = event.target.form;
    if (!form || !form.hasAttribute("data-search")) return;
    clearTimeout(typed);
    typed = setTimeout(() => search(form), event.target.nodeName === "SELECT" ? 0 : 250);
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.sure && !confirm(form.dataset.sure)) { event.preventDefault(); return; }
    if (form.hasAttribute("data-search")) {
      event.preventDefault();
      clearTimeout(typed);
      search(form);
    } else if (form.method === "get") {
      // Addresses are limited in length, so a long text goes into a request body.
      if (address(form).length > 6000) { form.method = "post"; return; }
      event.preventDefault();
      location.assign(address(form));
    }
  });

  // Shows copy buttons.
  const copiers = () => document.querySelectorAll("[data-copy]").forEach((one) => { one.hidden = false; });
  copiers();
  new MutationObserver(copiers).observe(main, { childList: true, subtree: true });
  document.addEventListener("click", async (event) => {
    const one = event.target.closest("[data-copy]");
    if (!one) return;
    const code = one.closest(".copy").querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
      said("Copied");
      one.firstChild.data = "Copied";
      setTimeout(() => { one.firstChild.data = "Copy"; }, 1500);
    } catch {
      getSelection().selectAllChildren(code);
      said("Selected: copy it with the keyboard");
    }
  });

  // The map is moved and zoomed by its view box; labels and dots keep their size.
  const svg = document.querySelector("#map svg");
  if (!svg) return;
  const [WIDTH, HEIGHT, SMALLEST, LARGEST] = [1600, 1000, .03, 1.3];
  let box = { x: 0, y: 0, scale: 1 };
  const labels = svg.querySelector(".labels");
  const items = [...svg.querySelectorAll("circle")].map((dot) => ({
    dot, x: +dot.getAttribute("cx"), y: +dot.getAttribute("cy"), name: dot.querySelector("title").textContent,
    isFirst: !dot.parentNode.hasAttribute("tabindex"),
  }));
  // Items that are labelled initially come first.
  const order = [...items.filter((one) => one.isFirst), ...items.filter((one) => !one.isFirst)];
  const draw = () => {
    svg.setAttribute("viewBox", `${box.x} ${box.y} ${WIDTH * box.scale} ${HEIGHT * box.scale}`);
    const { width, height } = svg.getBoundingClientRect();
    // Map units per pixel.
    const unit = Math.max(WIDTH / width, HEIGHT / height) * box.scale;
    const radius = Math.min(6.5, Math.max(2.2, 44 / Math.sqrt(items.length * box.scale)));
    // The buttons are in a corner; a label covers neither them nor a dot.
    const right = box.x + WIDTH * box.scale;
    const taken = [[right - 160 * unit, box.y, right, box.y + 60 * unit]], fresh = [];
    for (const one of items) one.dot.setAttribute("r", (radius * unit).toFixed(2));
    for (const one of order) {
      if (one.x < box.x || one.x > box.x + WIDTH * box.scale || one.y < box.y || one.y > box.y + HEIGHT * box.scale) continue;
      const text = one.name.length > 34 ? one.name.slice(0, 34).trimEnd() + "…" : one.name;
      const [x, y] = [one.x + (radius + 4) * unit, one.y + 4.5 * unit];
      const mine = [one.x, y - 14 * unit, x + text.length * 6.8 * unit, y + 6 * unit];
      if (mine[2] > right) continue;
      if (items.some((dot) => dot !== one && dot.x > mine[0] && dot.x < mine[2] && dot.y > mine[1] && dot.y < mine[3])) continue;
      if (taken.some((other) => mine[2] > other[0] && other[2] > mine[0] && mine[3] > other[1] && other[3] > mine[1])) continue;
      taken.push(mine);
      const label = document.createElementNS("http://www.w3.org/2000/svg", "text");
      label.setAttribute("x", x);
      label.setAttribute("y", y);
      label.style.fontSize = 13 * unit + "px";
      label.style.strokeWidth = 4 * unit + "px";
      label.textContent = text;
      fresh.push(label);
      if (fresh.length === 40) break;
    }
    labels.replaceChildren(...fresh);
  };
  let drawing = 0;
  const later = () => { cancelAnimationFrame(drawing); drawing = requestAnimationFrame(draw); };
  const moveTo = (x, y, scale) => {
    const within = (value, side) => Math.min(Math.max(value, -side * scale / 2), side - side * scale / 2);
    box = { x: within(x, WIDTH), y: within(y, HEIGHT), scale };
    later();
  };
  const zoom = (factor, at = { x: box.x + WIDTH * box.scale / 2, y: box.y + HEIGHT * box.scale / 2 }) => {
    const scale = Math.min(Math.max(box.scale * factor, SMALLEST), LARGEST);
    const ratio = scale / box.scale;
    moveTo(at.x - (at.x - box.x) * ratio, at.y - (at.y - box.y) * ratio, scale);
  };
  const place = (event) => {
    const matrix = svg.getScreenCTM().inverse();
    return { x: event.clientX * matrix.a + matrix.e, y: event.clientY * matrix.d + matrix.f, unit: matrix.a };
  };
  svg.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(event.deltaY * .0015), place(event)); }, { passive: false });
  const held = new Map();
  let moved = 0;
  svg.addEventListener("pointerdown", (event) => { held.set(event.pointerId, event); moved = 0; });
  svg.addEventListener("pointermove", (event) => {
    const before = held.get(event.pointerId);
    if (!before) return;
    const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
    moved += Math.abs(dx) + Math.abs(dy);
    if (held.size === 2) {
      const other = [...held].find(([id]) => id !== event.pointerId)[1];
      const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;
      zoom(apart(before) / apart(event), place(event));
    } else if (moved > 3) {
      svg.setPointerCapture(event.pointerId);
      const { unit } = place(event);
      moveTo(box.x - dx * unit, box.y - dy * unit, box.scale);
    }
    held.set(event.pointerId, event);
  });
  for (const end of ["pointerup", "pointercancel", "pointerleave"]) svg.addEventListener(end, (event) => held.delete(event.pointerId));
  // The click that ends a drag must not follow a link; clicks by keyboard always may.
  svg.addEventListener("click", (event) => { if (moved > 3 && event.detail > 0) event.preventDefault(); }, true);
  svg.addEventListener("dragstart", (event) => event.preventDefault());
  svg.tabIndex = 0;
  svg.addEventListener("keydown", (event) => {
    const step = box.scale * 100;
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    if (moves[event.key]) moveTo(box.x + moves[event.key][0], box.y + moves[event.key][1], box.scale);
    else if (event.key === "+" || event.key === "=") zoom(.7);
    else if (event.key === "-") zoom(1 / .7);
    else return;
    event.preventDefault();
  });
  const zoomers = document.querySelector("#map .zoom");
  zoomers.hidden = false;
  zoomers.addEventListener("click", (event) => {
    const how = event.target.closest("button")?.dataset.zoom;
    if (how === "in") zoom(.7);
    if (how === "out") zoom(1 / .7);
    if (how === "all") moveTo(0, 0, 1);
  });
  new ResizeObserver(later).observe(svg);
  draw();
})();
