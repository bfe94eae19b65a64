// The failure report in a real Chromium, opened as a file: what a reader must see and can do. Prints one JSON object; exit
// code 1 if a check failed.
//
//   cargo run -p sim --example failure_report -- target/failure-report
//   node sim/report-check/run.mjs --pages target/failure-report [--shots folder] [--chromium path]
//
// `cargo xtask test e2e` does both. playwright-core is the npm package's: `npm ci` in client-wasm/js.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";

const { chromium } = createRequire(new URL("../../client-wasm/js/package.json", import.meta.url))("playwright-core");
const { values } = parseArgs({
  options: {
    pages: { type: "string" },
    shots: { type: "string" },
    chromium: { type: "string", default: "/usr/bin/chromium" },
  },
});
if (values.pages === undefined) {
  console.error("usage: node run.mjs --pages folder [--shots folder] [--chromium path]");
  process.exit(2);
}
if (values.shots !== undefined) mkdirSync(values.shots, { recursive: true });

const WIDE = { width: 1280, height: 800 };
const NARROW = { width: 390, height: 844 };
const browser = await chromium.launch({
  executablePath: values.chromium,
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
  ],
});

/** Opens a page; errors and requests for anything but the file itself are collected in `problems`. */
async function open(name, viewport, options = {}) {
  const context = await browser.newContext({ viewport, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(error.message));
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && page.problems.push(message.text()));
  const url = pathToFileURL(resolve(values.pages, `${name}.html`)).href;
  page.on("request", (request) => request.url() === url || page.problems.push(`it asks for ${request.url()}`));
  await page.goto(url);
  await page.waitForSelector("#timeline .names .name");
  return page;
}

const shoot = (page, name) =>
  values.shots === undefined ? undefined : page.screenshot({ path: `${values.shots}/${name}.png`, fullPage: !name.includes("fold") });
/** What the timeline shows, in milliseconds. */
const seen = (page) =>
  page.locator("#state").textContent().then((text) => {
    const [, from, to] = /^([\d.]+) s to ([\d.]+) s/.exec(text);
    return { from: from * 1e3, to: to * 1e3, length: (to - from) * 1e3 };
  });
const settle = (page) => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));

const checks = {
  async "the guilty operations are red, labelled and in view at once"() {
    const page = await open("stale-read", WIDE);
    const bars = page.locator("#timeline g.op.guilty");
    assert.equal(await bars.count(), 2);
    const expected = await page.evaluate(() => {
      const probe = document.body.appendChild(Object.assign(document.createElement("i"), { style: "color: var(--bad-fill)" }));
      const color = getComputedStyle(probe).color;
      probe.remove();
      return color;
    });
    const [red, green, blue] = expected.match(/\d+/g).map(Number);
    assert.ok(red > 150 && green < 80 && blue < 80, `red is ${expected}`);
    const chart = await page.locator("#timeline").boundingBox();
    for (const bar of await bars.all()) {
      assert.equal(await bar.locator(".bar").evaluate((it) => getComputedStyle(it).stroke), expected);
      const box = await bar.locator(".bar").boundingBox();
      assert.ok(box.x > chart.x + 50 && box.x + box.width < chart.x + chart.width && box.width >= 3, JSON.stringify(box));
      assert.match(await bar.locator("text").textContent(), /^[①②] (put "b7" → version 4|read → "a3")/);
      assert.ok(box.y + box.height < WIDE.height, "it is below the fold");
    }
    assert.match(await page.locator("#sentence").textContent(), /client-3 read "a3"/);
    assert.match(await page.locator("#guilty tbody tr").nth(1).textContent(), /84 ms after ① was answered/);
    assert.ok(await page.locator("#timeline .off-text").count() > 0 || await page.locator("#timeline path.off").count() > 0);
    await shoot(page, "wide-light-fold");
    return page;
  },

  async "zooming, moving and the buttons change what is seen"() {
    const page = await open("stale-read", WIDE);
    const first = await seen(page);
    await page.click("#zoom-in");
    await settle(page);
    const near = await seen(page);
    assert.ok(near.length < first.length * 0.6, `${near.length} of ${first.length}`);
    await page.focus("#timeline");
    await page.keyboard.press("ArrowRight");
    await settle(page);
    assert.ok((await seen(page)).from > near.from);
    await page.keyboard.press("0");
    await settle(page);
    const all = await seen(page);
    assert.equal(all.from, 0);
    assert.equal(all.to, 3000);
    const box = await page.locator("#timeline").boundingBox();
    await page.mouse.move(box.x + box.width * 0.6, box.y + 200);
    await page.keyboard.down("Control");
    await page.mouse.wheel(0, -240);
    await page.keyboard.up("Control");
    await settle(page);
    const wheeled = await seen(page);
    assert.ok(wheeled.length < all.length, "the wheel zooms");
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.4, box.y + 200, { steps: 4 });
    await page.mouse.up();
    await settle(page);
    assert.ok((await seen(page)).from > wheeled.from, "dragging moves");
    await page.click("#to-guilty");
    await settle(page);
    assert.deepEqual(await seen(page), first);
    return page;
  },

  async "filters hide what they name"() {
    const page = await open("stale-read", WIDE);
    assert.ok(await page.locator("#timeline .messages path").count() > 0);
    await page.uncheck("#show-messages");
    await settle(page);
    assert.equal(await page.locator("#timeline .messages path").count(), 0);
    assert.ok(await page.locator("#timeline .notes path").count() > 0);
    await page.uncheck("#show-notes");
    await settle(page);
    assert.equal(await page.locator("#timeline .notes path").count(), 0);
    await page.selectOption("#key", { label: "users/7" });
    await settle(page);
    assert.equal(await page.locator("#timeline g.op.guilty").count(), 0);
    await page.selectOption("#key", { index: 1 });
    await settle(page);
    assert.equal(await page.locator("#timeline g.op.guilty").count(), 2);
    assert.equal(await page.locator("#timeline path.op.other").count(), 0);
    return page;
  },

  async "details come up for mouse and keyboard"() {
    const page = await open("stale-read", WIDE);
    await page.locator("#timeline g.op.guilty .bar").first().hover();
    await page.locator("#tip", { hasText: "users/42" }).waitFor();
    await page.mouse.move(5, 5);
    await page.locator("#tip").waitFor({ state: "hidden" });
    await page.focus("#guilty .badge >> nth=1");
    await page.keyboard.press("Enter");
    await settle(page);
    await page.locator("#tip.bad", { hasText: "client-3, operation" }).waitFor();
    await page.keyboard.press("Escape");
    await page.locator("#tip").waitFor({ state: "hidden" });
    await page.focus("#timeline");
    await page.keyboard.press("n");
    await page.locator("#tip").waitFor();
    await page.locator("#faults li button").nth(2).click();
    await settle(page);
    await page.locator("#tip", { hasText: "node-2" }).waitFor();
    await page.click("#copy");
    await page.locator("#copy", { hasText: /Copied|Marked/ }).waitFor();
    return page;
  },

  async "it is readable in both schemes and on a phone"() {
    const page = await open("stale-read", WIDE);
    await shoot(page, "wide-light");
    await page.emulateMedia({ colorScheme: "dark" });
    await shoot(page, "wide-dark");
    const phone = await open("stale-read", NARROW, { hasTouch: true, isMobile: true });
    await shoot(phone, "narrow-light");
    await shoot(phone, "narrow-light-fold");
    await phone.locator("#run").evaluate((it) => it.scrollIntoView());
    await shoot(phone, "narrow-light-fold-timeline");
    await phone.evaluate(() => scrollTo(0, 0));
    await phone.emulateMedia({ colorScheme: "dark" });
    await shoot(phone, "narrow-dark");
    for (const [tab, width] of [[page, 1280], [phone, 390]]) {
      const wide = await tab.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= width, `the page is ${wide} px wide in ${width}`);
    }
    await phone.locator("#timeline g.op.guilty .bar").first().tap();
    await phone.locator("#tip", { hasText: "users/42" }).waitFor();
    assert.ok((await phone.locator("#tip").boundingBox()).width <= 380);
    page.problems.push(...phone.problems);
    await page.click("#to-all");
    await settle(page);
    await page.emulateMedia({ colorScheme: "light" });
    await shoot(page, "whole-light");
    return page;
  },

  async "hostile texts stay texts"() {
    const page = await open("hostile", WIDE);
    assert.equal(await page.locator("body script").count(), 2);
    assert.equal(await page.locator("img").count(), 0);
    assert.match(await page.locator("#verdict").textContent(), /^<\/script><script>/);
    assert.equal(await page.locator("#timeline g.op.guilty").count(), 2);
    for (const key of ["n", "n", "+", "n", "g", "0"]) {
      await page.locator("#timeline").press(key);
      await settle(page);
    }
    await shoot(page, "hostile");
    for (const width of [1280, 390]) {
      await page.setViewportSize({ width, height: 800 });
      await settle(page);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= width, `the page is ${wide} px wide in ${width}`);
    }
    return page;
  },

  async "a run without anything is a page too"() {
    const page = await open("passed", WIDE);
    assert.equal(await page.locator("#guilty").isVisible(), false);
    assert.equal((await seen(page)).to, 3000);
    await page.locator("#timeline").press("n");
    await page.mouse.move(600, 300);
    await shoot(page, "passed");
    return page;
  },

  async "a crowd stays fluid"() {
    const page = await open("crowd", WIDE);
    await shoot(page, "crowd-guilty");
    await page.click("#to-all");
    await settle(page);
    assert.match(await page.locator("#state").textContent(), /too many for arrows/);
    await shoot(page, "crowd-whole");
    const frames = await page.evaluate(async () => {
      const timeline = document.getElementById("timeline");
      const box = timeline.getBoundingClientRect();
      const at = { clientX: box.left + box.width * 0.58, clientY: box.top + 200, ctrlKey: true, cancelable: true, bubbles: true };
      const times = [];
      for (let turn = 0; turn < 120; turn += 1) {
        timeline.dispatchEvent(new WheelEvent("wheel", { ...at, deltaY: turn < 60 ? -8 : 8 }));
        const begun = performance.now();
        await new Promise(requestAnimationFrame);
        await new Promise((done) => setTimeout(done));
        times.push(performance.now() - begun);
      }
      return times.sort((a, b) => a - b);
    });
    page.facts = { frameMs: { median: Math.round(frames[60]), p95: Math.round(frames[114]), max: Math.round(frames[119]) } };
    // Generous, for a busy machine: what it must catch is work that grows with the square of the run.
    assert.ok(frames[60] < 100, `half of the frames take longer than ${frames[60]} ms`);
    return page;
  },
};

const report = { chromium: browser.version(), checks: [] };
try {
  for (const [name, check] of Object.entries(checks)) report.checks.push(await attempt(name, check));
} finally {
  await browser.close();
}
report.failed = report.checks.filter((check) => !check.ok).length;
console.log(JSON.stringify(report, null, 2));
process.exitCode = report.failed === 0 ? 0 : 1;

async function attempt(name, check) {
  const begun = performance.now();
  const ms = () => Math.round(performance.now() - begun);
  try {
    const page = await check();
    assert.deepEqual(page?.problems ?? [], []);
    await page?.context().close();
    return { name, ok: true, ms: ms(), ...page?.facts };
  } catch (error) {
    return { name, ok: false, ms: ms(), error: String(error?.message ?? error) };
  }
}
