/** The core as a script of its own, loaded on first need: no file to copy, no request that could go astray. */

/** Decodes and compiles the core. */
export async function coreFromBase64(): Promise<WebAssembly.Module> {
  const { base64 } = await import("./generated/core-base64.js");
  return WebAssembly.compile(Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)));
}
