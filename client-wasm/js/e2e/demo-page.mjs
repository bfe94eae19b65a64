// The demo page as a person uses it: drop, see, replace, download, delete; in both colour schemes and on a phone.

import { readFileSync } from "node:fs";

/** A red pixel. */
const PNG = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==", "base64");

/** Throws when something is wrong. Screenshots go to `shots`, if given. */
export async function checkPage(browser, url, shots) {
  const page = await browser.newPage({ viewport: { width: 1200, height: 860 }, colorScheme: "light" });
  const problems = [];
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("console", (message) => /Content.Security.Policy/i.test(message.text()) && problems.push(message.text()));
  // Transitions are ended first: a change of the colour scheme starts some.
  const shot = (name) =>
    shots === undefined
      ? undefined
      : page.screenshot({ path: `${shots}/${name}.png`, fullPage: true, animations: "disabled" });
  const name = `e2e ${Date.now()} "ü" #1 100%?.png`;
  await page.goto(url);
  await page.waitForFunction(() => document.querySelectorAll("#nodes li.up").length > 0);
  const nodes = await page.locator("#nodes li").count();

  await page.setInputFiles("#pick", [{ name, mimeType: "image/png", buffer: PNG }]);
  const card = page.locator("#files li").filter({ has: page.locator(".name", { hasText: name }) });
  await card.waitFor();
  await card.locator(".where .letter").first().waitFor();
  await page.waitForFunction(() => [...document.querySelectorAll("#files img")].some((img) => img.naturalWidth > 0));

  await page.setInputFiles("#pick", [{ name, mimeType: "image/png", buffer: PNG }]);
  await page.getByText("Replace it").click();
  await page.setInputFiles("#pick", [{ name: "big.bin", mimeType: "application/octet-stream", buffer: Buffer.alloc(2 << 20) }]);
  await page.getByText("keeps files of up to 1 MiB").waitFor();
  await shot("wide-light");
  await page.emulateMedia({ colorScheme: "dark" });
  await shot("wide-dark");
  await page.setViewportSize({ width: 390, height: 844 });
  await shot("narrow-dark");
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  if (wide > 390) {
    throw new Error(`the page is ${wide} px wide on a phone of 390`);
  }
  await page.emulateMedia({ colorScheme: "light" });
  await shot("narrow-light");
  await page.getByText("Dismiss").click();

  const [download] = await Promise.all([page.waitForEvent("download"), card.getByText("Download").click()]);
  if (!readFileSync(await download.path()).equals(PNG)) {
    throw new Error("the download is not what was dropped");
  }
  await card.getByText("Delete", { exact: true }).click();
  await card.getByText("Delete for good").click();
  await card.waitFor({ state: "detached" });
  await page.close();
  if (problems.length > 0) {
    throw new Error(problems.join("; "));
  }
  return { nodes };
}
