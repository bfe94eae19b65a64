// Puts and gets files in a real headless Chromium, with the npm package as any page would load it.
//
// usage: node exchange.mjs job.json /path/to/chromium
//
// The job: { endpoints, bucket, put: [{ key, path, contentType, metadata }], get: [{ key, path }] }. Files of `put` are
// stored from the page; bodies of `get` are written to their paths. Prints one line of JSON for each file, in order:
// the object's info as the page sees it. The page has an origin of its own, so every call is cross-origin.

import { createServer } from "node:http";
import { createReadStream } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const package_ = fileURLToPath(new URL("../../client-wasm/js/", import.meta.url));
const { chromium } = createRequire(join(package_, "package.json"))("playwright-core");
const job = JSON.parse(await readFile(process.argv[2], "utf8"));

const TYPES = { ".js": "text/javascript", ".wasm": "application/wasm", ".html": "text/html", ".map": "application/json" };
const PAGE = "<!doctype html><meta charset=utf-8><title>exchange</title><link rel=icon href=data:,>";

const server = createServer(async (request, response) => {
  const path = new URL(request.url, "http://page").pathname;
  const number = Number(path.split("/")[2]);
  try {
    if (path === "/") {
      response.setHeader("content-type", "text/html").end(PAGE);
    } else if (path.startsWith("/file/")) {
      response.setHeader("content-type", "application/octet-stream");
      createReadStream(job.put[number].path).pipe(response);
    } else if (path.startsWith("/got/") && request.method === "POST") {
      const parts = [];
      for await (const part of request) parts.push(part);
      await writeFile(job.get[number].path, Buffer.concat(parts));
      response.end();
    } else if (path.startsWith("/dist/")) {
      const file = join(package_, normalize(path));
      response.setHeader("content-type", TYPES[extname(file)] ?? "application/octet-stream");
      response.end(await readFile(file));
    } else {
      response.writeHead(404).end();
    }
  } catch (error) {
    response.writeHead(500).end(String(error));
  }
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));

const browser = await chromium.launch({ executablePath: process.argv[3], args: ["--no-sandbox"] });
try {
  const page = await browser.newPage();
  page.on("console", (message) => console.error(`page: ${message.text()}`));
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const infos = await page.evaluate(exchange, { ...job, put: job.put.map(({ path, ...rest }) => rest) });
  for (const info of infos) console.log(JSON.stringify(info));
} finally {
  await browser.close();
  server.close();
  server.closeAllConnections();
}

async function exchange({ endpoints, bucket, put, get }) {
  const { Store } = await import("/dist/index.js");
  const store = new Store({ endpoints, bucket });
  const infos = [];
  for (const [number, { key, contentType, metadata }] of put.entries()) {
    const file = await (await fetch(`/file/${number}`)).blob();
    infos.push(await store.put(key, file, { contentType, metadata }));
  }
  for (const [number, { key }] of get.entries()) {
    const response = await store.get(key);
    const body = await response.arrayBuffer();
    await fetch(`/got/${number}`, { method: "POST", body });
    infos.push(response.info);
  }
  return infos;
}
