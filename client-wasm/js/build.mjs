// Builds dist/ from src/ (or, with --tests, dist-test/). The wasm core must be in src/generated: `cargo xtask wasm` makes it
// and then runs this.
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { brotliCompressSync, gzipSync } from "node:zlib";

import { build } from "esbuild";

const here = (path) => new URL(path, import.meta.url).pathname;
const wasm = readFileSync(here("src/generated/core_bg.wasm"));
writeFileSync(here("src/generated/core-base64.js"), `export const base64 = "${wasm.toString("base64")}";\n`);

const common = { bundle: true, format: "esm", target: "es2022", logLevel: "warning", absWorkingDir: here(".") };
if (process.argv.includes("--tests")) {
  const specs = readdirSync(here("src")).filter((name) => name.endsWith(".spec.ts")).map((name) => `src/${name}`);
  rmSync(here("dist-test"), { recursive: true, force: true });
  await build({ ...common, entryPoints: specs, outdir: "dist-test", platform: "node", sourcemap: "inline", outExtension: { ".js": ".mjs" } });
} else {
  rmSync(here("dist"), { recursive: true, force: true });
  mkdirSync(here("dist"));
  cpSync(here("src/generated/core_bg.wasm"), here("dist/core_bg.wasm"));
  const minify = { minify: true, legalComments: "none" };
  await build({ ...common, ...minify, entryPoints: ["src/index.ts"], outdir: "dist" });
  await build({ ...common, ...minify, entryPoints: ["src/inline.ts"], outdir: "dist", splitting: true });
  await build({ ...common, ...minify, entryPoints: ["src/workerd.ts"], outdir: "dist", external: ["./core_bg.wasm"] });
  execFileSync(process.execPath, [here("node_modules/typescript/bin/tsc"), "-p", here("tsconfig.types.json")], { stdio: "inherit" });
  writeSizes();
}

/** Sizes as they travel, in bytes: committed, so that a change shows up in review. */
function writeSizes() {
  const sizes = (name) => {
    const bytes = readFileSync(here(`dist/${name}`));
    return { raw: bytes.length, gzip: gzipSync(bytes, { level: 9 }).length, brotli: brotliCompressSync(bytes).length };
  };
  const report = { command: "cargo xtask wasm", entry: sizes("index.js"), wasm: sizes("core_bg.wasm") };
  mkdirSync(here("docs"), { recursive: true });
  writeFileSync(here("docs/bundle-size.json"), `${JSON.stringify(report, null, 2)}\n`);
  console.log(`entry ${report.entry.gzip} B gzip, wasm ${report.wasm.gzip} B gzip (${report.wasm.brotli} B brotli)`);
}
