/** Compiles the core from whatever it comes in. */

/** Where the core may be loaded from. */
export type PreloadSource = string | URL | Response | ArrayBuffer | WebAssembly.Module;

/** The compiled module. */
export async function moduleOf(source: PreloadSource): Promise<WebAssembly.Module> {
  if (source instanceof WebAssembly.Module) {
    return source;
  }
  if (source instanceof ArrayBuffer) {
    return WebAssembly.compile(source);
  }
  const response = source instanceof Response ? source : await fetch(source);
  if (!response.ok) {
    throw new Error(`${response.url} answered with HTTP status ${response.status}`);
  }
  // Streaming wants the right content type; some servers do not know wasm's.
  const streamable = response.headers.get("content-type")?.startsWith("application/wasm") === true;
  return streamable ? WebAssembly.compileStreaming(response) : WebAssembly.compile(await response.arrayBuffer());
}
