/** The package's entry for Node.js, Deno, Bun, server-side rendering and bundlers that leave files alone: the core is a script. */

import { coreFromBase64 } from "./core-from-base64.js";
import { loadCore } from "./core-host.js";
import { type PreloadSource, moduleOf } from "./core-source.js";
import { BaseStore } from "./store.js";
import type { StoreOptions } from "./types.js";

export * from "./exports.js";

/** One bucket of a cluster. Cheap to make; keep one per bucket, since it learns which nodes are well. */
export class Store extends BaseStore {
  constructor(options: StoreOptions) {
    super(options, coreFromBase64);
  }
}

/** Loads the wasm core now, and not on first need; from `source` where it is served elsewhere. */
export function preload(source?: PreloadSource): Promise<void> {
  return loadCore(source === undefined ? coreFromBase64 : () => moduleOf(source));
}
