// The package and the demo page in a real Chromium, against real nodes. Prints one JSON object; exit code 1 if a check failed.
//
//   node e2e/run.mjs --base http://127.0.0.1:7070[,http://…] [--page http://127.0.0.1:7070/] [--shots folder]
//
// The package is loaded from dist/ by a plain <script type=module>, from an origin of its own, so that CORS is in play.
import { mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { parseArgs } from "node:util";

import { chromium } from "playwright-core";

import { checks } from "./checks.mjs";
import { checkPage } from "./demo-page.mjs";

const { values } = parseArgs({
  options: {
    base: { type: "string" },
    page: { type: "string" },
    shots: { type: "string" },
    chromium: { type: "string", default: "/usr/bin/chromium" },
  },
});
if (values.base === undefined) {
  console.error("usage: node e2e/run.mjs --base URL[,URL] [--page URL] [--shots folder] [--chromium path]");
  process.exit(2);
}

const TYPES = { js: "text/javascript", wasm: "application/wasm", html: "text/html" };
const PAGE = `<!doctype html><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; connect-src *; img-src *">
<script type="module" src="/expose.js"></script>`;
const EXPOSE = 'import * as holdfast from "/dist/index.js"; globalThis.holdfast = holdfast;';

/** Serves the package and a blank page. */
function servePackage() {
  const server = createServer((request, response) => {
    const path = request.url ?? "/";
    const send = (type, body) => response.writeHead(200, { "content-type": TYPES[type] }).end(body);
    if (path === "/") {
      send("html", PAGE);
    } else if (path === "/expose.js") {
      send("js", EXPOSE);
    } else if (/^\/dist\/[a-z_-]+\.(js|wasm)$/i.test(path)) {
      send(path.split(".").at(-1), readFileSync(new URL(`..${path}`, import.meta.url)));
    } else {
      response.writeHead(404).end();
    }
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

const server = await servePackage();
const browser = await chromium.launch({
  executablePath: values.chromium,
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
  ],
});
const report = { chromium: browser.version(), checks: [] };
try {
  const tab = await browser.newPage();
  await tab.goto(`http://127.0.0.1:${server.address().port}/`);
  await tab.waitForFunction(() => globalThis.holdfast !== undefined);
  for (const [name, check] of Object.entries(checks)) {
    report.checks.push(await attempt(name, () => tab.evaluate(check, { endpoints: values.base.split(","), run: `${Date.now()}` })));
  }
  if (values.page !== undefined) {
    if (values.shots !== undefined) {
      mkdirSync(values.shots, { recursive: true });
    }
    report.checks.push(await attempt("demo page", () => checkPage(browser, values.page, values.shots)));
  }
} finally {
  await browser.close();
  server.close();
}
report.failed = report.checks.filter((check) => !check.ok).length;
console.log(JSON.stringify(report, null, 2));
process.exitCode = report.failed === 0 ? 0 : 1;

async function attempt(name, action) {
  const begun = performance.now();
  const ms = () => Math.round(performance.now() - begun);
  try {
    const facts = await action();
    return { name, ok: true, ms: ms(), ...facts };
  } catch (error) {
    return { name, ok: false, ms: ms(), error: String(error?.message ?? error) };
  }
}
