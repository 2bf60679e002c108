// The widget in a real browser: pages of another origin, under a strict policy, near and far, with Kindred there and away.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

const require = createRequire(join(process.env.KINDRED_TEST_PAGE, "package.json"));
const puppeteer = require("puppeteer-core");

const WAIT_MS = 30_000;
const KEY = "kk_" + Buffer.alloc(32, 7).toString("base64url");
const DOMAIN = "rail.test";
const ITEMS = [
  { id: "posts/trains", title: "Night trains return", url: "/posts/trains/", categories: ["rail"] },
  { id: "posts/sleepers", title: "Sleepers <b>to</b> the coast", url: "/posts/sleepers/", categories: ["rail"], image: "/bed.png" },
  { id: "posts/berths", title: "Trains with berths", url: "/posts/berths/", categories: ["night"], language: "en" },
  { id: "posts/bad", title: "Trains that lead nowhere", url: "javascript:alert(1)", categories: ["rail"] },
].map((item) => ({ ...item, text: "Night trains with beds and breakfast run from spring on." }));

let folder, child, base, site, origin, chromium;
let pages = {};

async function until(is, what) {
  const end = Date.now() + WAIT_MS;
  for (;;) {
    if (await is().catch(() => false)) return;
    if (Date.now() > end) throw new Error(`${what} was not so within ${WAIT_MS} ms`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

async function ask(method, path, body) {
  const answer = await fetch(base + path, {
    method, body: body && JSON.stringify(body),
    headers: { authorization: "Bearer " + KEY, "content-type": "application/json" },
  });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

function html(body, { policy = `default-src 'none'; script-src ${base}; connect-src ${base}; img-src 'self'`, from = base } = {}) {
  return `<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>A page</title>
    <meta http-equiv="content-security-policy" content="${policy}"></head><body><main>${body}</main>
    <script src="${from}/embed.js" async></script></body></html>`;
}

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "kindred-embed-"));
  writeFileSync(join(folder, "key"), KEY, { mode: 0o600 });
  const flags = ["standalone", "--listen", "127.0.0.1:0", "--data-dir", join(folder, "data"), "--json",
    "--admin-key-file", join(folder, "key")];
  // A variable that it does not know is an error.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("KINDRED_")));
  child = spawn(process.env.KINDRED_TEST_PROGRAM, flags, { stdio: ["ignore", "pipe", "ignore"], cwd: folder, env });
  base = await new Promise((done, fail) => {
    child.once("exit", (code) => fail(new Error(`the service ended with ${code}`)));
    child.stdout.once("data", (line) => done("http://" + JSON.parse(line).address));
  });
  site = createServer((request, answer) => {
    const page = pages[request.url];
    answer.writeHead(page ? 200 : 404, { "content-type": "text/html; charset=utf-8" });
    answer.end(page ?? "");
  });
  await new Promise((done) => site.listen(0, "127.0.0.1", done));
  origin = `http://127.0.0.1:${site.address().port}`;
  await ask("PUT", `/v1/domains/${DOMAIN}`, { public: true, origins: [origin] });
  await ask("PUT", "/v1/domains/shut.test", { origins: [origin] });
  for (const domain of [DOMAIN, "shut.test"])
    for (const { id, ...item } of ITEMS)
      await ask("PUT", `/v1/domains/${domain}/items/${encodeURIComponent(id)}`, item);
  await until(async () => (await ask("GET", "/v1/domains")).domains.every((one) => one.quiet), "every list");
  chromium = await puppeteer.launch({
    executablePath: process.env.KINDRED_TEST_CHROMIUM ?? "/usr/bin/chromium",
    // Where tests run as root there is no sandbox; what is shown is our own.
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
    headless: true,
  });
});

after(async () => {
  await chromium?.close();
  site?.close();
  child?.removeAllListeners("exit");
  child?.kill("SIGTERM");
  rmSync(folder, { recursive: true, force: true });
});

// A page in a tab of its own; what went wrong in it is noted.
function look(name, made, to) {
  test(name, async () => {
    pages = typeof made === "function" ? made() : made;
    const page = await chromium.newPage();
    const wrong = [], asked = [];
    page.setDefaultTimeout(WAIT_MS);
    page.on("pageerror", (error) => wrong.push(error.message));
    page.on("console", (message) => { if (/content.security.policy/i.test(message.text())) wrong.push(message.text()); });
    page.on("request", (request) => asked.push(request.url()));
    try {
      await to(page, asked, (path) => page.goto(origin + path, { waitUntil: "load" }));
      assert.deepEqual(wrong, []);
    } finally {
      await page.close();
    }
  });
}

const titles = (page) => page.$$eval(".kindred-title", (all) => all.map((one) => one.textContent));

look("the list of the page's own address, accessible and without a style", () => ({
  "/posts/trains/": html(`<div data-kindred-domain="${DOMAIN}" data-kindred-heading="Read on" data-kindred-level="3">
    <a href="/all">All</a></div>`),
}), async (page, asked, go) => {
  await go("/posts/trains/");
  await page.waitForSelector(".kindred-list");
  const found = await titles(page);
  assert.deepEqual([...found].sort(), ["Sleepers to the coast", "Trains with berths"], "no script becomes a link");
  assert.equal(await page.$eval("nav", (one) => one.getAttribute("aria-label")), "Read on");
  assert.equal(await page.$eval("h3.kindred-heading", (one) => one.textContent), "Read on");
  assert.equal(await page.$eval("ul", (one) => one.getAttribute("role")), "list");
  assert.equal(await page.$$eval("[style], style", (all) => all.length), 0);
  assert.equal(await page.$$eval("img", (all) => all.length), 0);
  assert.equal(await page.$eval("a[lang=en]", (one) => one.textContent), "Trains with berths");
  const links = await page.$$eval(".kindred-link", (all) => all.map((one) => one.href));
  assert.deepEqual(links.sort(), [`${origin}/posts/berths/`, `${origin}/posts/sleepers/`]);
  assert.ok(asked.every((url) => url.startsWith(origin) || url.startsWith(base)), asked.join(" "));
  const tree = JSON.stringify(await page.accessibility.snapshot());
  for (const part of ['"role":"heading","name":"Read on"', '"name":"Trains with berths"']) assert.ok(tree.includes(part), tree);
  await page.focus(".kindred-link");
});

look("conditions and pictures", () => ({
  "/x": html(`<div data-kindred-domain="${DOMAIN}" data-kindred-item="posts/trains" data-kindred-images="true"
    data-kindred-not-category="night|none" data-kindred-limit="5" data-kindred-half-life="30d"></div>`),
}), async (page, asked, go) => {
  await go("/x");
  await page.waitForSelector(".kindred-list");
  assert.deepEqual(await titles(page), ["Sleepers to the coast"]);
  assert.deepEqual(await page.$$eval("img.kindred-image", (all) => all.map((one) => [one.src, one.alt, one.loading])),
    [[`${origin}/bed.png`, "", "lazy"]]);
  const query = new URL(asked.find((url) => url.includes("/similar"))).searchParams;
  assert.deepEqual(query.getAll("not_category"), ["night", "none"]);
  assert.equal(query.get("half_life"), "30d");
  assert.equal(query.get("images"), null);
});

look("what is far below is asked for when it comes near", () => ({
  "/x": html(`${"<p>Text.</p>".repeat(400)}<div data-kindred-domain="${DOMAIN}" data-kindred-item="posts/trains"></div>`),
}), async (page, asked, go) => {
  await go("/x");
  await until(async () => page.$eval("div", (one) => one.kindred === true), "the place is known");
  assert.equal(asked.filter((url) => url.includes("/similar")).length, 0);
  await page.evaluate(() => document.querySelector("div").scrollIntoView());
  await page.waitForSelector(".kindred-list");
  assert.equal(asked.filter((url) => url.includes("/similar")).length, 1);
});

look("a page that changes itself", () => ({ "/x": html("") }), async (page, asked, go) => {
  await go("/x");
  await page.evaluate((domain) => {
    const box = document.querySelector("main").appendChild(document.createElement("div"));
    Object.assign(box.dataset, { kindredDomain: domain, kindredItem: "posts/trains" });
    document.dispatchEvent(new Event("kindred"));
  }, DOMAIN);
  await page.waitForSelector(".kindred-list");
});

look("nothing changes where nothing may be asked, or nothing is there", () => ({
  "/x": html(`<div id="a" data-kindred-domain="shut.test" data-kindred-item="posts/trains">A</div>
    <div id="b" data-kindred-domain="${DOMAIN}" data-kindred-item="nothing">B</div>
    <div id="c" data-kindred-domain="${DOMAIN}" data-kindred-item="posts/trains">C</div>`),
}), async (page, asked, go) => {
  await go("/x");
  await page.waitForSelector("#c .kindred-list");
  await until(async () => asked.filter((url) => url.includes("/similar")).length === 3, "all were asked");
  await page.waitForNetworkIdle();
  assert.equal(await page.$eval("#a", (one) => one.textContent), "A");
  assert.equal(await page.$eval("#b", (one) => one.textContent), "B");
});

look("a Kindred that is away leaves the page as it is", () => {
  const policy = "default-src 'none'; script-src http://127.0.0.1:*; connect-src http://127.0.0.1:*";
  return { "/x": html(`<div data-kindred-domain="${DOMAIN}">Own</div>`, { policy, from: "http://127.0.0.1:9" }) };
}, async (page, asked, go) => {
  await go("/x");
  assert.equal(await page.$eval("div", (one) => one.textContent), "Own");
});
