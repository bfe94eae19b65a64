/** Files on their way to the store, each with its progress, and what went wrong in words. */

import { ConditionFailedError, type Store } from "holdfast";

import { byId, element } from "./elements.js";
import { errorInWords, sizeInWords } from "./words.js";

const FILE_BYTES_MAX = 1 << 20;
const PARALLEL_MAX = 4;
/** How long a finished upload stays in view, in ms. */
const FINISHED_SHOWN_MS = 1_500;

/** See the file's beginning. */
export class Uploads {
  readonly #store: Store;
  readonly #onStored: () => void;
  readonly #waiting: Upload[] = [];
  #running = 0;

  constructor(store: Store, onStored: () => void) {
    this.#store = store;
    this.#onStored = onStored;
  }

  /** Takes files from the drop zone and from the chooser, for ever. */
  listen(): void {
    const pick = byId("pick") as HTMLInputElement;
    pick.addEventListener("change", () => {
      this.add([...(pick.files ?? [])]);
      pick.value = "";
    });
    const drop = byId("drop");
    // On the whole page, so that a file that misses the zone does not replace the page.
    addEventListener("dragover", (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
    addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) {
        drop.classList.remove("over");
      }
    });
    addEventListener("drop", (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      this.add([...(event.dataTransfer?.files ?? [])]);
    });
    addEventListener("paste", (event) => this.add([...(event.clipboardData?.files ?? [])]));
  }

  /** Uploads them. */
  add(files: readonly File[]): void {
    for (const file of files) {
      const upload = new Upload(file, (again) => this.#enqueue(again));
      byId("uploads").append(upload.item);
      if (file.size > FILE_BYTES_MAX) {
        upload.fail(`${sizeInWords(file.size)} is too large: this version of Holdfast keeps files of up to 1 MiB.`);
      } else {
        this.#enqueue(upload);
      }
    }
  }

  #enqueue(upload: Upload): void {
    this.#waiting.push(upload);
    this.#next();
  }

  #next(): void {
    while (this.#running < PARALLEL_MAX) {
      const upload = this.#waiting.shift();
      if (upload === undefined) {
        return;
      }
      this.#running += 1;
      void upload.run(this.#store).then((stored) => {
        this.#running -= 1;
        if (stored) {
          this.#onStored();
        }
        this.#next();
      });
    }
  }
}

class Upload {
  readonly item: HTMLElement;
  readonly #file: File;
  readonly #again: (upload: Upload) => void;
  readonly #abort = new AbortController();
  readonly #bar = element("progress", { max: 1, value: 0 });
  readonly #text = element("span", { className: "text" });
  readonly #actions = element("span", { className: "actions" });
  #replace = false;

  constructor(file: File, again: (upload: Upload) => void) {
    this.#file = file;
    this.#again = again;
    this.item = element("li", {},
      element("span", { className: "name", textContent: file.name, title: file.name }), this.#bar, this.#text, this.#actions);
    this.#text.textContent = "waiting";
    this.#offer(["Cancel", () => this.#abort.abort()]);
  }

  /** Whether it was stored. */
  async run(store: Store): Promise<boolean> {
    const { signal } = this.#abort;
    try {
      await store.put(this.#file.name, this.#file, {
        signal,
        ...(this.#replace ? {} : { ifNoneMatch: "*" as const }),
        onProgress: ({ loaded, total }) => {
          this.#bar.value = total === 0 ? 1 : loaded / total;
          this.#text.textContent = loaded < total ? `${sizeInWords(loaded)} of ${sizeInWords(total)}` : "saving on the nodes";
        },
      });
      this.#finish();
      return true;
    } catch (error) {
      if (signal.aborted) {
        this.item.remove();
      } else if (error instanceof ConditionFailedError) {
        this.fail("There is a file of this name already.", ["Replace it", () => this.#retry(true)]);
      } else {
        this.fail(errorInWords(error), ["Try again", () => this.#retry(this.#replace)]);
      }
      return false;
    }
  }

  /** Says what went wrong, and what can be done. */
  fail(why: string, ...actions: readonly (readonly [string, () => void])[]): void {
    this.item.className = "failed";
    this.#text.textContent = why;
    this.#offer(...actions, ["Dismiss", () => this.item.remove()]);
  }

  #finish(): void {
    this.item.className = "stored";
    this.#bar.value = 1;
    this.#text.textContent = "saved";
    this.#offer();
    setTimeout(() => this.item.remove(), FINISHED_SHOWN_MS);
  }

  #retry(replace: boolean): void {
    this.#replace = replace;
    this.item.className = "";
    this.#bar.value = 0;
    this.#text.textContent = "waiting";
    this.#offer(["Cancel", () => this.#abort.abort()]);
    this.#again(this);
  }

  #offer(...actions: readonly (readonly [string, () => void])[]): void {
    this.#actions.replaceChildren(...actions.map(([label, onclick]) => element("button", { type: "button", textContent: label, onclick })));
  }
}
