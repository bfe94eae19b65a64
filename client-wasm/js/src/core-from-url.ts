/** The core as a file beside the script. Bundlers know this one literal expression, and copy the file. */

import { moduleOf } from "./core-source.js";

/** Fetches and compiles the core. */
export function coreFromUrl(): Promise<WebAssembly.Module> {
  return moduleOf(new URL("./core_bg.wasm", import.meta.url));
}
