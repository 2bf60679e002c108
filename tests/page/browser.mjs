// A service and a browser, and what every test asks of them.

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const require = createRequire(join(process.env.KINDRED_TEST_PAGE, "package.json"));
const puppeteer = require("puppeteer-core");
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const START_MS = 30_000;
const WAIT_MS = 15_000;
// Making the lists of all domains of a test; machines that build beside it are slow.
const LOAD_MS = 180_000;

// Starts a service on a free port; `keys` are secrets of administrators, at most one.
export async function service({ key } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "kindred-page-"));
  const flags = ["standalone", "--listen", "127.0.0.1:0", "--data-dir", join(folder, "data")];
  if (key) {
    writeFileSync(join(folder, "key"), key, { mode: 0o600 });
    flags.push("--admin-key-file", join(folder, "key"));
  }
  const child = spawn(process.env.KINDRED_TEST_PROGRAM, flags, { stdio: ["ignore", "pipe", "pipe"], cwd: folder });
  let log = "";
  const base = await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("the service did not start:\n" + log)), START_MS);
    const read = (chunk) => {
      log += chunk;
      // Colours of a terminal are left out where there is none.
      const found = log.match(/serving.*?(127\.0\.0\.1:\d+)/s);
      if (found) {
        clearTimeout(timer);
        resolve("http://" + found[1]);
      }
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("exit", (code) => reject(new Error(`the service ended with ${code}:\n${log}`)));
  });
  const headers = { "content-type": "application/json", ...(key ? { authorization: "Bearer " + key } : {}) };
  const ask = async (path, options = {}) => {
    const answer = await fetch(base + path, { ...options, headers: { ...headers, ...options.headers } });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${text}`);
    return text && JSON.parse(text);
  };
  return {
    base,
    ask,
    // Sends events, and waits until all lists are made.
    async load(lines) {
      const domains = new Map();
      for (const line of lines) {
        const { domain } = JSON.parse(line);
        domains.set(domain, [...(domains.get(domain) ?? []), line]);
      }
      for (const [domain, some] of domains) {
        const answer = await ask(`/v1/domains/${domain}/items:batch`, {
          method: "POST", body: some.join("\n"), headers: { "content-type": "application/x-ndjson" },
        });
        if (answer.rejected.length) throw new Error(JSON.stringify(answer.rejected[0]));
      }
      await until(async () => (await ask("/v1/domains")).domains.every((one) => one.quiet), "every domain quiet", LOAD_MS);
    },
    async stop() {
      child.removeAllListeners("exit");
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGTERM");
      const code = await ended;
      rmSync(folder, { recursive: true, force: true });
      return code;
    },
  };
}

export async function until(is, what = "it", within = WAIT_MS) {
  const end = Date.now() + within;
  while (Date.now() < end) {
    if (await is()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${what} was not so within ${within} ms`);
}

export function browser() {
  return puppeteer.launch({
    executablePath: process.env.KINDRED_TEST_CHROMIUM ?? "/usr/bin/chromium",
    // Where tests run as root there is no sandbox; what is shown is our own.
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--force-color-profile=srgb", "--lang=en"],
    headless: true,
  });
}

// A tab that notes whatever must not happen: requests to others, errors, violations of the policy.
export async function tab(chromium, base, { script = true } = {}) {
  const context = await chromium.createBrowserContext();
  await context.overridePermissions(base, ["clipboard-read", "clipboard-write", "clipboard-sanitized-write"]);
  const page = await context.newPage();
  const wrong = [];
  page.setDefaultTimeout(WAIT_MS);
  await page.setJavaScriptEnabled(script);
  page.on("request", (request) => { if (!request.url().startsWith(base)) wrong.push("asked " + request.url()); });
  page.on("pageerror", (error) => wrong.push("error: " + error.message));
  page.on("console", (message) => {
    // Answers that are problems are told in the console, too.
    if (message.type() === "error" && !/status of (4\d\d|503)/.test(message.text())) wrong.push("console: " + message.text());
  });
  await page.setViewport({ width: 1280, height: 900 });
  return {
    page,
    wrong,
    go: (path) => page.goto(base + path, { waitUntil: "load" }),
    text: (selector) => page.$eval(selector, (one) => one.textContent),
    count: (selector) => page.$$eval(selector, (all) => all.length),
    path: () => page.url().slice(base.length),
    // Clicks what leads to another view, and waits for that.
    async follow(selector) {
      await Promise.all([page.waitForNavigation({ waitUntil: "load" }), page.click(selector)]);
    },
    async fill(selector, text) {
      await page.click(selector, { count: 3 });
      await page.type(selector, text);
    },
    close: () => context.close(),
  };
}

// What axe-core finds; best practices count, too.
export async function accessibility(page) {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => globalThis.axe.run(document, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
  }));
  return found.violations.map((one) => `${one.id}: ${one.help}: ${one.nodes.slice(0, 3).map((node) => node.html + " " + node.failureSummary).join(" | ")}`);
}
