/**
 * Keeps the wasm core: loads it once, on first need, and replaces an instance that trapped.
 *
 * The core throws a string (a fault in JSON) for everything that it expects. Anything else is a trap, after which its
 * memory cannot be trusted: then every operation under way in it has lost its mind, and says so.
 */

import { errorOf, type Fault, InternalError } from "./errors.js";
import { __wbg_reset_state as resetState, Core, initSync, Method } from "./generated/core.js";

export { type Core, Method };

/** Where the core's module comes from. */
export type CoreSource = () => Promise<WebAssembly.Module>;

let loading: Promise<void> | undefined;
let memory: WebAssembly.Memory | undefined;
/** Rises with every trap: what was made under an older number is gone. */
let generation = 0;

/** Loads the core, once. A failure is not remembered. */
export function loadCore(source: CoreSource): Promise<void> {
  loading ??= source().then(
    (module) => {
      memory = initSync({ module }).memory;
    },
    (cause: unknown) => {
      loading = undefined;
      const hint = "Is core_bg.wasm served beside the package's script? Does the page's Content-Security-Policy allow "
        + "'wasm-unsafe-eval'? Otherwise import from \"holdfast/inline\", or call preload() with the module.";
      throw new InternalError({ code: "internal", message: "the wasm core could not be loaded" }, { cause, hint });
    },
  );
  return loading;
}

/** One client's core. */
export class CoreHandle {
  readonly #endpoints: readonly string[];
  #core: Core | undefined;
  #generation = -1;

  constructor(endpoints: readonly string[]) {
    this.#endpoints = endpoints;
  }

  /** The generation of what `use` works with. */
  get generation(): number {
    return generation;
  }

  /** Calls the core. Throws the typed error of a fault; {@link InternalError} after a trap. Never call it within itself. */
  use<T>(action: (core: Core) => T): T {
    try {
      if (this.#core === undefined || this.#generation !== generation) {
        this.#generation = generation;
        this.#core = new Core([...this.#endpoints]);
      }
      return action(this.#core);
    } catch (error) {
      throw typeof error === "string" ? errorOf(parse<Fault>(error)) : this.#onTrap(error);
    }
  }

  /** Copies bytes to the start of the core's scratch; how many, since the scratch may be shorter. */
  fill(core: Core, bytes: Uint8Array): number {
    const length = Math.min(bytes.byteLength, core.scratchBytes());
    if (memory === undefined) {
      throw new Error("the core is used before it is loaded");
    }
    // Made anew each time: growing the memory detaches every view of it.
    new Uint8Array(memory.buffer, core.scratchAt(), length).set(bytes.subarray(0, length));
    return length;
  }

  #onTrap(cause: unknown): InternalError {
    if (this.#generation === generation) {
      generation += 1;
      resetState();
      memory = currentMemory();
    }
    const message = "the wasm core failed and was started again: please report this";
    return new InternalError({ code: "internal", message }, { cause });
  }
}

/** Once initialised, `initSync` does nothing but answer with what the instance exports. */
function currentMemory(): WebAssembly.Memory {
  return initSync({ module: new Uint8Array() }).memory;
}

/** What the core wrote. It is ours, so its shape is what its sources say. */
export function parse<T>(json: string): T {
  return JSON.parse(json) as T;
}
