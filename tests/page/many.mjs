// How soon the page can be used with many domains and many items.
//
// Usable: the table or list is there and the fields can be typed into (the end of the load event, fonts included).

import { browser, service, tab } from "./browser.mjs";

const DOMAINS = Number(process.env.KINDRED_TEST_PAGE_DOMAINS ?? 10_000);
const ITEMS = Number(process.env.KINDRED_TEST_PAGE_ITEMS ?? 100_000);
const AT_ONCE = 32;
const TIMES = 5;
const WORDS = "ice rail night coast valley copper kettle market garden music river bridge school winter engine paint".split(" ");

const median = (all) => [...all].sort((a, b) => a - b)[Math.floor(all.length / 2)];

const one = await service();
const chromium = await browser();
try {
  let next = 0;
  const put = async () => {
    while (next < DOMAINS) {
      const n = next++;
      await one.ask(`/v1/domains/d${String(n).padStart(5, "0")}.example/items/a`, { method: "PUT", body: JSON.stringify({ title: "A kettle of copper" }) });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, put));
  const lines = Array.from({ length: ITEMS }, (_, n) => JSON.stringify({
    type: "item.created", domain: "many.example", id: `i${n}`,
    title: [0, 4, 9, 13].map((shift) => WORDS[(n >> shift) % WORDS.length]).join(" ") + " " + n,
    categories: [WORDS[n % 7]],
  }));
  for (let from = 0; from < ITEMS; from += 10_000) {
    await one.ask("/v1/domains/many.example/items:batch", {
      method: "POST", body: lines.slice(from, from + 10_000).join("\n"), headers: { "content-type": "application/x-ndjson" },
    });
  }
  console.log(`${DOMAINS} domains, ${ITEMS} items`);
  for (;;) {
    const { state, quiet, pending } = await one.ask("/v1/domains/many.example");
    if (quiet) break;
    console.log(state, pending);
    await new Promise((resolve) => setTimeout(resolve, 5_000));
  }
  const { page, go, close } = await tab(chromium, one.base);
  for (const [name, path] of [
    ["domains", "/"], ["domains, a part of the name", "/?q=d09"], ["items", "/domains/many.example"],
    ["items, a rare word", "/domains/many.example?q=99999"], ["items, the newest", "/domains/many.example?sort=newest"],
    ["an item and why", "/domains/many.example/items/i77"], ["an item, filtered", "/domains/many.example/items/i77?category=rail&collapse=near"],
    ["map", "/domains/many.example/map"], ["activity", "/activity"],
  ]) {
    const times = [];
    let bytes = 0;
    for (let time = 0; time < TIMES; time++) {
      const begun = performance.now();
      const answer = await go(path);
      await page.evaluate(() => document.fonts.ready);
      times.push(performance.now() - begun);
      bytes = (await answer.buffer()).length;
    }
    console.log(`${name}: ${Math.round(median(times))} ms (first ${Math.round(times[0])} ms), ${bytes} bytes of HTML`);
  }
  await close();
} finally {
  await chromium.close();
  await one.stop();
}
