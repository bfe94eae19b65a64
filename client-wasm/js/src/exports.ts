/** What every entry of the package exports beside its own `Store` and `preload`. */

export * from "./errors.js";
export type * from "./types.js";
