// Builds dist/: static files that a node serves at /. The package must have been built: `cargo xtask page` does both.
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, rmSync } from "node:fs";

import { build } from "../js/node_modules/esbuild/lib/main.js";

const here = (path) => new URL(path, import.meta.url).pathname;
execFileSync(process.execPath, [here("../js/node_modules/typescript/bin/tsc"), "-p", here("tsconfig.json")], { stdio: "inherit" });
rmSync(here("dist"), { recursive: true, force: true });
mkdirSync(here("dist"));
await build({
  absWorkingDir: here("."),
  entryPoints: ["src/page.ts"],
  outdir: "dist",
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  alias: { holdfast: here("../js/dist/index.js") },
  logLevel: "warning",
});
for (const name of ["index.html", "page.css", "icon.svg"]) {
  cpSync(here(name), here(`dist/${name}`));
}
// Beside the script, where the package looks for it.
cpSync(here("../js/dist/core_bg.wasm"), here("dist/core_bg.wasm"));
