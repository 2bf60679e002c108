// Kindred's widget: docs/recipes/widget.md
(() => {
  const base = new URL(".", document.currentScript.src).href;
  const own = /^(domain|item|heading|level|images)$/;

  // The id that an import gives this page.
  const here = () => decodeURIComponent(location.pathname).replace(/^\/+|\/+$/g, "")
    .replace(/(^|\/)index\.html?$/, "").replace(/\.html?$/, "") || "index";

  // data-kindred-not-category="a|b" asks not_category=a&not_category=b.
  const question = (box) => {
    const asked = new URLSearchParams();
    for (const { name, value } of box.attributes) {
      const key = name.split(/^data-kindred-/)[1];
      if (!key || own.test(key)) continue;
      const field = key.replace(/^[^.]+/, (word) => word.replace(/-/g, "_"));
      for (const one of value.split("|")) asked.append(field, one);
    }
    return asked;
  };

  // Only HTTP addresses become links.
  const page = (address) => {
    try {
      const url = new URL(address, location.href);
      return /^https?:$/.test(url.protocol) && url.href;
    } catch {}
  };

  const add = (to, name, part, more) => {
    const made = document.createElement(name);
    to.append(Object.assign(made, { className: "kindred-" + part }, more));
    return made;
  };

  const show = (box, items) => {
    const { kindredHeading: heading, kindredLevel: level, kindredImages: images } = box.dataset;
    box.textContent = "";
    const nav = add(box, "nav", "nav", { ariaLabel: heading || "Related" });
    if (heading) add(nav, "h" + (level || 2), "heading", { textContent: heading });
    const list = add(nav, "ul", "list", { role: "list" });
    for (const { href, id, title, image, language } of items) {
      const link = add(add(list, "li", "item"), "a", "link", { href });
      if (language) link.lang = language;
      const src = images === "true" && image && page(image);
      if (src) add(link, "img", "image", { alt: "", loading: "lazy", src });
      add(link, "span", "title", { textContent: title || id });
    }
  };

  // On any failure the page stays as it is.
  const load = async (box) => {
    try {
      const { kindredDomain: domain, kindredItem: item } = box.dataset;
      const path = [domain, "items", item || here(), "similar"].map(encodeURIComponent).join("/");
      const answer = await fetch(`${base}v1/domains/${path}?${question(box)}`);
      const { similar } = await answer.json();
      const items = similar.map((one) => ({ ...one, href: one.url && page(one.url) })).filter((one) => one.href);
      if (items.length) show(box, items);
    } catch {}
  };

  const seen = new IntersectionObserver((all) => {
    for (const { isIntersecting, target } of all) {
      if (isIntersecting) seen.unobserve(target), load(target);
    }
  }, { rootMargin: "300px" });

  const find = () => {
    for (const box of document.querySelectorAll("[data-kindred-domain]")) {
      if (!box.kindred) seen.observe(box);
      box.kindred = true;
    }
  };
  find();
  for (const when of ["DOMContentLoaded", "kindred"]) document.addEventListener(when, find);
})();
