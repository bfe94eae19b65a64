/** The package's entry for workerd, which compiles no wasm at run time: the core is a module that it has compiled. */

import core from "./core_bg.wasm";
import { loadCore } from "./core-host.js";
import { type PreloadSource, moduleOf } from "./core-source.js";
import { BaseStore } from "./store.js";
import type { StoreOptions } from "./types.js";

export * from "./exports.js";

/** One bucket of a cluster. Cheap to make; keep one per bucket, since it learns which nodes are well. */
export class Store extends BaseStore {
  constructor(options: StoreOptions) {
    super(options, () => Promise.resolve(core));
  }
}

/** Loads the wasm core now, and not on first need; from `source` where it is served elsewhere. */
export function preload(source?: PreloadSource): Promise<void> {
  return loadCore(source === undefined ? () => Promise.resolve(core) : () => moduleOf(source));
}
