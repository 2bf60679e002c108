// The page, as somebody uses it.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { accessibility, browser, service, tab, until } from "./browser.mjs";

const KEY = "kk_" + Buffer.alloc(32, 7).toString("base64url");
const SHOTS = process.env.KINDRED_TEST_PAGE_SCREENSHOTS ?? join(process.env.KINDRED_TEST_PAGE, "screenshots");
const ITEM = "/domains/courier.example/items/how-glaciers-flow";
// Every view that needs nobody signed in.
const VIEWS = {
  domains: "/", items: "/domains/courier.example", item: ITEM,
  text: "/domains/courier.example/text?title=Ice+on+the+move&text=Why+glaciers+flow+and+how+fast",
  two: ITEM + "?with=how-fjords-were-carved",
  map: "/domains/courier.example/map", experiments: "/domains/courier.example/experiments", settings: "/domains/courier.example/settings", activity: "/activity", keys: "/keys",
  problem: "/domains/nowhere.example",
};
// Pictures that docs/ has: view, light or dark, width.
const PICTURES = [
  ["item", "light", 1280], ["two", "dark", 1280], ["map", "light", 1280], ["item", "dark", 400],
];
const PICTURES_BYTES = 600_000;

let open, closed, chromium;

before(async () => {
  const demo = readFileSync("model-service/demo/courier.ndjson", "utf8").trim().split("\n");
  open = await service();
  closed = await service({ key: KEY });
  chromium = await browser();
  const few = Array.from({ length: 120 }, (_, n) => JSON.stringify({
    type: "item.created", domain: `shop-${String(n).padStart(3, "0")}.example`, id: "a", title: "A kettle of copper",
  }));
  await Promise.all([open.load([...demo, ...few]), closed.load(demo.slice(0, 40))]);
});

after(async () => {
  await chromium?.close();
  await Promise.all([open?.stop(), closed?.stop()]);
});

// A test in a tab of its own, in which nothing may go wrong.
function look(name, to, { script = true, at = () => open } = {}) {
  test(name, async () => {
    const one = await tab(chromium, at().base, { script });
    try {
      await to(one);
      assert.deepEqual(one.wrong, []);
    } finally {
      await one.close();
    }
  });
}

look("domains are found while one types, and lead to their items", async ({ page, go, text, count, follow, path }) => {
  await go("/");
  assert.match(await text("h1"), /Domains/);
  assert.equal(await count("tbody tr"), 100);
  await follow("a[rel=next]");
  assert.match(path(), /page=2/);
  assert.ok(await count("tbody tr") > 10);
  await go("/");
  await page.type("input[name=q]", "courier");
  await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 1);
  await page.waitForFunction(() => location.search === "?q=courier");
  assert.equal(await page.evaluate(() => document.activeElement.name), "q", "focus stays");
  await follow("tbody th a");
  assert.equal(path(), "/domains/courier.example");
  assert.match(await text("h1"), /courier\.example/);
});

look("items are searched, filtered and paged", async ({ page, go, text, count, follow, path }) => {
  await go("/domains/courier.example");
  assert.equal(await count(".items li"), 50);
  const first = await text(".items li .title");
  await follow("a[rel=next]");
  assert.notEqual(await text(".items li .title"), first);
  await follow("a[rel=first]");
  assert.equal(await text(".items li .title"), first);
  await page.type("input[name=q]", "glacier");
  await page.waitForFunction(() => document.querySelectorAll(".items li").length < 50);
  assert.match(path(), /q=glacier/);
  await page.click("summary");
  await page.type("input[name=language]", "de");
  await page.waitForFunction(() => location.search.includes("language=de"));
  assert.match(await text(".empty"), /No item/, "it is a domain in English");
});

look("an item says what is similar and why; conditions are in address, command and snippet", async ({ page, go, text, count, follow, path }) => {
  await go(ITEM);
  assert.equal(await count(".neighbours > li"), 10);
  assert.ok(await count(".neighbours .why mark") > 5, "shared words");
  assert.ok(await count(".neighbours .title mark") > 0, "words are marked in titles");
  const score = Number(await text(".neighbours .score").then((text) => text.replace("Score ", "")));
  const said = await open.ask("/v1" + ITEM + "/similar?limit=1");
  assert.ok(Math.abs(score - said.similar[0].score) < 0.001);
  const parts = await page.$$eval(".neighbours li:first-child .bar rect:not(.track)", (all) => all.reduce((sum, one) => sum + Number(one.getAttribute("width")), 0));
  assert.ok(Math.abs(parts / 1000 - score) < 0.003, `a bar is as long as its score: ${parts} ${score}`);

  await page.select("select[name=collapse]", "near");
  await page.waitForFunction(() => location.search.includes("collapse=near"));
  await page.click("input[name=limit]");
  await page.type("input[name=limit]", "3");
  await page.waitForFunction(() => document.querySelectorAll(".neighbours > li").length === 3);
  const codes = await page.$$eval(".copy code", (all) => all.map((one) => one.textContent));
  assert.equal(codes[0], open.base + "/v1" + ITEM + "/similar?limit=3&collapse=near");
  assert.equal(codes[1], `curl '${codes[0]}'`);
  assert.match(codes[2], /data-kindred-domain="courier\.example" data-kindred-item="how-glaciers-flow"/);
  assert.equal((await (await fetch(codes[0])).json()).similar.length, 3, "the address works");
  await page.click(".copy:nth-of-type(1) [data-copy]");
  await page.waitForFunction(() => document.querySelector("#said").textContent === "Copied");
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), codes[0]);

  const to = await page.$eval(".neighbours .title", (one) => one.getAttribute("href"));
  await follow(".neighbours li:first-child a[href*='with=']");
  assert.match(path(), /\?with=/);
  assert.equal(await count(".pair article"), 2);
  for (const side of ["first", "last"]) assert.ok(await count(`.pair article:${side}-child mark`) > 0, "words are marked in both");
  assert.ok(Math.abs(Number((await text(".measure .score")).replace("Score ", "")) - score) < 0.001);
  await page.goBack();
  await follow(".neighbours .title");
  assert.equal(path(), to);
  assert.match(path(), /limit=3&collapse=near/, "the next item is asked with the same conditions");
});

look("a condition that cannot be is said where it was asked", async ({ page, go, text }) => {
  await go(ITEM);
  await page.type("input[name=half_life]", "soon");
  await page.waitForSelector(".split [role=alert]");
  assert.match(await text(".split [role=alert]"), /half_life/);
});

look("a draft is asked about", async ({ page, go, text, count, fill, path, follow }) => {
  await go("/domains/courier.example/text");
  await fill("input[name=title]", "Ice on the move");
  await fill("textarea[name=text]", "It's why glaciers flow, and how fast: ice creeps downhill under its own weight.");
  await follow(".conditions button");
  assert.match(path(), /^\/domains\/courier\.example\/text\?title=Ice\+on\+the\+move&text=/);
  assert.equal(await count(".neighbours > li"), 10);
  assert.match(await text(".neighbours li:first-child"), /glacier/i);
  assert.match(await text(".copy code"), /It'\\''s why/);
  // A text that no address holds goes in a body.
  await page.$eval("textarea[name=text]", (one) => { one.value = "glaciers and ice. ".repeat(2000); });
  await follow(".conditions button");
  assert.equal(path(), "/domains/courier.example/text");
  assert.equal(await count(".neighbours > li"), 10);
});

look("the map is zoomed, moved and leads to items", async ({ page, go, count, path, text }) => {
  await go("/domains/courier.example/map");
  const domain = await open.ask("/v1/domains/courier.example");
  assert.equal(await count("#map circle"), domain.visible);
  const box = () => page.$eval("#map svg", (one) => one.getAttribute("viewBox"));
  const whole = await box();
  await page.click("[data-zoom=in]");
  await page.waitForFunction((whole) => document.querySelector("#map svg").getAttribute("viewBox") !== whole, {}, whole);
  const near = await box();
  await page.$eval("#map svg", (one) => one.focus());
  await page.keyboard.press("ArrowLeft");
  await page.waitForFunction((near) => document.querySelector("#map svg").getAttribute("viewBox") !== near, {}, near);
  await page.click("[data-zoom=all]");
  await page.waitForFunction((whole) => document.querySelector("#map svg").getAttribute("viewBox") === whole, {}, whole);
  const svg = await (await page.$("#map svg")).boundingBox();
  await page.mouse.move(svg.x + 300, svg.y + 300);
  await page.mouse.wheel({ deltaY: -400 });
  await page.waitForFunction((whole) => document.querySelector("#map svg").getAttribute("viewBox") !== whole, {}, whole);
  const before = await box();
  await page.mouse.down();
  await page.mouse.move(svg.x + 380, svg.y + 340, { steps: 4 });
  await page.mouse.up();
  await page.waitForFunction((before) => document.querySelector("#map svg").getAttribute("viewBox") !== before, {}, before);
  assert.equal(path(), "/domains/courier.example/map", "a drag is no click");
  assert.ok(await count("#map .labels text") > 5);
  await page.click("[data-zoom=all]");
  await page.$eval("#map a:not([tabindex])", (one) => one.focus());
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  assert.match(path(), /\/items\//);
  assert.ok((await text("h1")).length > 3);
});

look("activity is told by the stream, without a reload", async ({ page, go, text }) => {
  await go("/activity");
  assert.match(await text("main"), /this instance/);
  const jobs = () => page.$$eval("dt", (all) => all.find((one) => one.textContent.startsWith("To extract")).nextSibling.textContent);
  const before = await jobs();
  await page.evaluate(() => { globalThis.here = true; });
  await open.ask("/v1/domains/new.example/items/a", { method: "PUT", body: JSON.stringify({ title: "Copper kettles, and how to clean them" }) });
  await until(async () => (await jobs()) !== before, "the count of jobs");
  assert.equal(await page.evaluate(() => globalThis.here), true, "it is the same page");
});

test("a stream of activity ends with the service", async () => {
  const one = await service();
  const answer = await fetch(one.base + "/v1/activity/stream");
  const reader = answer.body.getReader();
  const { value } = await reader.read();
  assert.match(new TextDecoder().decode(value), /^event: activity\ndata: \{/);
  const [code] = await Promise.all([one.stop(), (async () => { while (!(await reader.read()).done); })()]);
  assert.equal(code, 0);
});

look("settings are set, and a wrong one is named", async ({ page, go, text, fill, follow, path }) => {
  await go("/domains/shop-001.example/settings");
  await fill("input[name=max_age]", "60");
  await page.type("textarea[name=origins]", "https://one.example\nhttps://two.example");
  await page.select("select[name=public]", "true");
  await follow("form[action$=settings] button");
  assert.match(path(), /settings\?set=1/);
  assert.match(await text("[role=status].note"), /Saved/);
  const set = await open.ask("/v1/domains/shop-001.example");
  assert.deepEqual([set.max_age, set.origins, set.public], [60, ["https://one.example", "https://two.example"], true]);
  assert.equal(await page.$eval("textarea[name=origins]", (one) => one.value), "https://one.example\nhttps://two.example");
  await fill("input[name=near_duplicate]", "1.5");
  await follow("form[action$=settings] button");
  assert.match(await text("[role=alert]"), /near_duplicate/);
  assert.equal(await page.$eval("[aria-invalid]", (one) => one.name), "near_duplicate");
  assert.equal(await page.$eval("[aria-invalid]", (one) => one.value), "1.5", "what was typed stays");
});

look("settings of an empty domain are set, whatever its active model is called", async ({ page, go, text, fill, follow, path }) => {
  const domain = "/v1/domains/empty.example";
  await open.ask(domain, { method: "PUT", body: "{}" });
  await open.ask(domain + "/models/better", { method: "PUT", body: JSON.stringify({ kind: "words-1" }) });
  await until(async () => (await open.ask(domain + "/models/better")).state === "ready", "the model ready");
  await open.ask(domain + "/models/better:activate", { method: "POST", body: "{}" });
  await go("/domains/empty.example/settings");
  assert.equal(await page.$eval("input[name=model]", (one) => one.value), "better");
  await fill("input[name=max_age]", "60");
  await follow("form[action$=settings] button");
  assert.match(path(), /settings\?set=1/);
  assert.match(await text("[role=status].note"), /Saved/);
  const set = await open.ask(domain);
  assert.deepEqual([set.max_age, set.model], [60, "better"]);
});

look("who has no key is shown the door, and comes back to what was asked", async ({ page, go, text, count, fill, follow, path }) => {
  await go(ITEM);
  assert.equal(path(), "/sign-in?next=%2Fdomains%2Fcourier.example%2Fitems%2Fhow-glaciers-flow");
  assert.equal(await count("header nav"), 0);
  await fill("input[name=key]", "kk_wrong");
  await follow(".door button");
  assert.match(await text("[role=alert]"), /No key/);
  await fill("input[name=key]", KEY);
  await follow(".door button");
  assert.equal(path(), ITEM);
  const [cookie] = (await page.cookies()).filter((one) => one.name === "kindred");
  assert.ok(cookie.httpOnly && cookie.sameSite === "Strict" && !cookie.value.includes(KEY.slice(3)));
  assert.ok(!(await page.evaluate(() => document.cookie)).includes("kindred="));
  const refused = await page.evaluate(() => fetch("/v1/domains/courier.example", { method: "DELETE" }).then((answer) => answer.status));
  assert.equal(refused, 403, "a cookie alone changes nothing");
  assert.match(await page.$$eval(".copy code", (all) => all[1].textContent), /Authorization: Bearer \$KINDRED_KEY/);

  await go("/keys");
  await fill("textarea[name=grants]", "read:courier.example\nmetrics");
  await fill("input[name=expires]", "1d");
  await follow(".conditions.narrow button");
  const secret = await text(".note .copy code");
  assert.match(secret, /^kk_[\w-]{43}$/);
  const made = await fetch(closed.base + "/v1/domains", { headers: { authorization: "Bearer " + secret } });
  assert.equal(made.status, 200);
  page.once("dialog", (dialog) => dialog.accept());
  await follow("tbody tr:last-child button");
  assert.match(await text("[role=status].note"), /Revoked/);
  assert.equal((await fetch(closed.base + "/v1/domains", { headers: { authorization: "Bearer " + secret } })).status, 401);

  await follow("form[action='/sign-out'] button");
  assert.equal(path(), "/sign-in");
  await go("/");
  assert.match(path(), /^\/sign-in/);
}, { at: () => closed });

look("a key that reads one domain sees that and no more", async ({ go, text, count, fill, follow, path }) => {
  const key = await closed.ask("/v1/keys", { method: "POST", body: JSON.stringify({ grants: ["read:courier.example"] }) });
  await go("/sign-in");
  await fill("input[name=key]", key.secret);
  await follow(".door button");
  assert.equal(path(), "/");
  assert.equal(await count("tbody tr"), 1);
  assert.equal(await count(".figures"), 0, "no metrics");
  await go("/keys");
  assert.match(await text("main"), /needs the grant admin/);
  await go("/activity");
  assert.match(await text("main"), /needs the grant metrics/);
}, { at: () => closed });

look("everything is readable without a script, and forms work", async ({ go, count, follow, path, fill, page, text }) => {
  await go("/");
  assert.equal(await count("tbody tr"), 100);
  await fill("input[name=q]", "courier");
  await follow(".search button");
  assert.match(path(), /\?q=courier&only=/);
  await follow("tbody th a");
  await follow(".items .title");
  assert.equal(await count(".neighbours > li"), 10);
  assert.equal(await count("[data-copy]:not([hidden])"), 0, "no button that does nothing");
  await page.select("select[name=fallback]", "newest");
  await follow("form.conditions button");
  assert.match(path(), /fallback=newest/);
  await go("/domains/courier.example/map");
  assert.equal(await count("#map circle"), 100);
  await go("/domains/shop-002.example/settings");
  await fill("input[name=max_age]", "5");
  await follow("form[action$=settings] button");
  assert.match(await text("[role=status].note"), /Saved/);
}, { script: false });

look("the keyboard is enough", async ({ page, go, path }) => {
  await go("/");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to content");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => location.hash), "#main");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.name), "q");
  await page.keyboard.type("courier");
  await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 1);
  for (let presses = 0; presses < 5; presses++) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(() => document.activeElement.closest("tbody") !== null)) break;
  }
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  assert.equal(path(), "/domains/courier.example");
});

look("light and dark are chosen, and kept", async ({ page, go }) => {
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "light" }]);
  const ground = () => page.$eval("html", (one) => getComputedStyle(one).backgroundColor);
  await go("/");
  const light = await ground();
  await page.click("#theme");
  assert.notEqual(await ground(), light);
  await go("/activity");
  assert.equal(await page.$eval("html", (one) => one.dataset.theme), "dark");
  await page.click("#theme");
  assert.equal(await ground(), light);
});

look("all files of the page are small", async ({ page, go }) => {
  const answers = [];
  page.on("response", (answer) => answers.push(answer));
  await go("/domains/courier.example");
  await page.evaluate(() => document.fonts.ready);
  const bytes = (await Promise.all(answers.map((answer) => answer.buffer()))).reduce((sum, one) => sum + one.length, 0);
  assert.ok(bytes > 30_000 && bytes <= 150_000, `${bytes} bytes`);
  console.log(`    the page with the first 50 items: ${bytes} bytes`);
});

for (const width of [1280, 400]) {
  for (const scheme of ["light", "dark"]) {
    look(`every view, ${scheme}, ${width} wide: axe-core finds nothing, and nothing is cut off`, async ({ page, go }) => {
      await page.setViewport({ width, height: 800 });
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      for (const [name, path] of Object.entries(VIEWS)) {
        await go(path);
        await page.evaluate(() => document.fonts.ready);
        assert.deepEqual(await accessibility(page), [], name);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth);
        assert.ok(wide <= width, `${name} is ${wide} wide`);
        const isOfDocs = PICTURES.some(([view, of, wide]) => view === name && of === scheme && wide === width);
        const folder = process.env.KINDRED_TEST_PAGE_SCREENSHOTS && !isOfDocs ? join(process.env.KINDRED_TEST_PAGE, "screenshots") : SHOTS;
        mkdirSync(folder, { recursive: true });
        await page.screenshot({ path: join(folder, `${name}-${scheme}-${width}.png`) });
      }
    });
    look(`the door, ${scheme}, ${width} wide`, async ({ page, go }) => {
      await page.setViewport({ width, height: 800 });
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      await go("/sign-in");
      assert.deepEqual(await accessibility(page), []);
    }, { at: () => closed });
  }
}

test("the pictures of docs/ are small", () => {
  const files = PICTURES.map(([view, scheme, width]) => `docs/page/${view}-${scheme}-${width}.png`);
  const bytes = files.reduce((sum, file) => sum + statSync(file).size, 0);
  assert.ok(bytes <= PICTURES_BYTES, `${bytes} bytes`);
});
