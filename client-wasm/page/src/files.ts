/** The files of the bucket, as cards. Listed again every few seconds, since others may change them. */

import { NotFoundError, type ObjectInfo, type Store } from "holdfast";

import type { ClusterPanel } from "./cluster-panel.js";
import { byId, element } from "./elements.js";
import { errorInWords, sizeInWords, timeInFull, timeInWords } from "./words.js";

const INTERVAL_MS = 2_000;
/** Cards shown, at most: this is a demo, not a file manager. */
const CARDS_MAX = 500;
/** Questions where objects are kept under way at once. */
const HEADS_MAX = 4;
const PICTURES = /^image\/(png|jpeg|gif|webp|avif|svg\+xml|bmp|x-icon|vnd\.microsoft\.icon)$/;

/** See the file's beginning. */
export class Files {
  readonly #store: Store;
  readonly #panel: ClusterPanel;
  readonly #cards = new Map<string, Card>();
  readonly #unknown: Card[] = [];
  #asking = 0;
  #wake: () => void = () => undefined;

  constructor(store: Store, panel: ClusterPanel) {
    this.#store = store;
    this.#panel = panel;
  }

  /** Lists for ever. */
  async run(): Promise<never> {
    for (;;) {
      try {
        await this.#list();
      } catch {
        // The panel says when no node answers; the cards stay as they were.
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        setTimeout(resolve, INTERVAL_MS);
      });
    }
  }

  /** Lists now. */
  refresh(): void {
    this.#wake();
  }

  /** The nodes changed: shows them anew on every card. */
  redrawNodes(): void {
    for (const card of this.#cards.values()) {
      card.drawNodes(this.#panel);
    }
  }

  async #list(): Promise<void> {
    const objects: ObjectInfo[] = [];
    for await (const object of this.#store.list("", { timeout: 10_000 })) {
      objects.push(object);
    }
    const count = objects.length;
    const bytes = objects.reduce((sum, { size }) => sum + size, 0);
    objects.sort((a, b) => b.modified.getTime() - a.modified.getTime());
    objects.length = Math.min(count, CARDS_MAX);
    const keys = new Set(objects.map(({ key }) => key));
    for (const [key, card] of this.#cards) {
      if (!keys.has(key)) {
        card.item.remove();
        this.#cards.delete(key);
      }
    }
    objects.forEach((object, at) => this.#place(object, at));
    // The newest are asked about first.
    this.#unknown.sort((a, b) => a.modified - b.modified);
    this.#askNext();
    const more = count > CARDS_MAX ? `, the newest ${CARDS_MAX} shown` : "";
    byId("count").textContent = count === 0 ? "" : `${count} ${count === 1 ? "file" : "files"}, ${sizeInWords(bytes)}${more}`;
    byId("empty").hidden = count > 0;
  }

  #place(object: ObjectInfo, at: number): void {
    let card = this.#cards.get(object.key);
    if (card === undefined || card.version !== object.version) {
      const made = new Card(object, this.#store, this.#panel, () => this.refresh());
      card?.item.replaceWith(made.item);
      card = made;
      this.#cards.set(object.key, card);
      this.#unknown.push(card);
    }
    card.drawTime();
    const list = byId("files");
    if (list.children[at] !== card.item) {
      list.insertBefore(card.item, list.children[at] ?? null);
    }
  }

  #askNext(): void {
    while (this.#asking < HEADS_MAX) {
      const card = this.#unknown.pop();
      if (card === undefined) {
        return;
      }
      this.#asking += 1;
      void card.askNodes().finally(() => {
        this.#asking -= 1;
        this.#askNext();
      });
    }
  }
}

class Card {
  readonly item: HTMLElement;
  readonly version: string;
  readonly #object: ObjectInfo;
  readonly #store: Store;
  readonly #panel: ClusterPanel;
  readonly #onGone: () => void;
  readonly #time = element("time", {});
  readonly #nodes = element("span", { className: "where" });
  readonly #actions = element("div", { className: "actions" });
  readonly #problem = element("p", { className: "problem", hidden: true });
  #replicas: readonly string[] = [];

  constructor(object: ObjectInfo, store: Store, panel: ClusterPanel, onGone: () => void) {
    this.#object = object;
    this.version = object.version;
    this.#store = store;
    this.#panel = panel;
    this.#onGone = onGone;
    const { key, size, modified } = object;
    this.#time.dateTime = modified.toISOString();
    this.#time.title = timeInFull(modified);
    this.item = element("li", {},
      element("div", { className: "thumb" }, this.#thumbnail()),
      element("div", { className: "about" },
        element("p", { className: "name", textContent: key, title: key }),
        element("p", { className: "fine" }, `${sizeInWords(size)} · `, this.#time),
        this.#nodes),
      this.#actions, this.#problem);
    this.#offerUsual();
    this.drawTime();
  }

  get modified(): number {
    return this.#object.modified.getTime();
  }

  drawTime(): void {
    this.#time.textContent = timeInWords(this.#object.modified);
  }

  /** Asks which nodes hold it. */
  async askNodes(): Promise<void> {
    try {
      this.#replicas = (await this.#store.head(this.#object.key))?.replicas ?? [];
      this.drawNodes(this.#panel);
    } catch {
      // Shown without its nodes; the card itself is right.
    }
  }

  drawNodes(panel: ClusterPanel): void {
    const marks = this.#replicas.map((id) => panel.mark(id) ?? { letter: "?", url: id, up: false });
    marks.sort((a, b) => a.letter.localeCompare(b.letter));
    const up = marks.filter((mark) => mark.up).length;
    this.#nodes.title = marks.length === 0 ? "" : `Kept on ${marks.length} nodes, ${up} of them up`;
    this.#nodes.replaceChildren(...marks.map((mark) =>
      element("span", { className: `letter ${mark.up ? "up" : "down"}`, textContent: mark.letter, title: `${mark.url}: ${mark.up ? "up" : "down"}` })));
  }

  #thumbnail(): HTMLElement {
    const { key, contentType } = this.#object;
    const suffix = /\.([a-z0-9]{1,5})$/i.exec(key)?.[1] ?? contentType.split("/").at(-1)?.slice(0, 5) ?? "file";
    const label = element("span", { className: "kind", textContent: suffix.toUpperCase() });
    if (!PICTURES.test(contentType)) {
      return label;
    }
    const picture = element("img", { alt: "", loading: "lazy", decoding: "async" });
    const tried = new Set<string>();
    const load = async (): Promise<void> => {
      const best = await this.#store.url(key);
      const path = best.slice(best.indexOf("/o/"));
      const candidates = [best, ...this.#panel.upUrls().map((url) => url + path)];
      const next = candidates.find((url) => !tried.has(url));
      if (next === undefined) {
        picture.replaceWith(label);
      } else {
        tried.add(next);
        // The version in the address: a replaced picture must not come from the browser's cache.
        picture.src = `${next}?v=${this.version}`;
      }
    };
    picture.onerror = () => void load();
    void load();
    return picture;
  }

  #offerUsual(): void {
    this.#offer(["Download", "", () => void this.#download()], ["Delete", "", () => this.#askToDelete()]);
  }

  #askToDelete(): void {
    this.#offer(["Delete for good", "danger", () => void this.#delete()], ["Keep", "", () => this.#offerUsual()]);
  }

  #offer(...actions: readonly (readonly [string, string, () => void])[]): void {
    this.#actions.replaceChildren(...actions.map(([textContent, className, onclick]) =>
      element("button", { type: "button", textContent, className, onclick })));
  }

  /** Through the package, so that what lands on disk was verified, whichever node it came from. */
  async #download(): Promise<void> {
    await this.#attempt("Downloading…", async () => {
      const url = URL.createObjectURL(await (await this.#store.get(this.#object.key)).blob());
      element("a", { href: url, download: this.#object.key.split("/").at(-1) ?? "file" }).click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
    });
  }

  async #delete(): Promise<void> {
    await this.#attempt("Deleting…", async () => {
      await this.#store.delete(this.#object.key, { ifMatch: this.version });
    });
    this.#onGone();
  }

  async #attempt(doing: string, action: () => Promise<void>): Promise<void> {
    this.#problem.hidden = true;
    this.#offer([doing, "busy", () => undefined]);
    try {
      await action();
    } catch (error) {
      this.#problem.textContent = error instanceof NotFoundError ? "It is gone already." : errorInWords(error);
      this.#problem.hidden = false;
      if (error instanceof NotFoundError) {
        this.#onGone();
      }
    }
    this.#offerUsual();
  }
}
