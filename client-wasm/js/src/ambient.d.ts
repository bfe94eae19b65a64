/** A module's wasm, as workerd imports it. */
declare module "*.wasm" {
  const module: WebAssembly.Module;
  export default module;
}

/** The core in base64: made by the build. */
declare module "*/core-base64.js" {
  export const base64: string;
}
