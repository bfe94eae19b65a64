/** The nodes, live: asked for every second, from whichever node answers. */

import type { ClusterStatus, NodeStatus, Store } from "holdfast";

import { byId, element } from "./elements.js";
import { errorInWords } from "./words.js";

const INTERVAL_MS = 1_000;
const TIMEOUT_MS = 3_000;

/** A node as the page shows it everywhere: a letter, and whether it is up. */
export interface NodeMark {
  readonly letter: string;
  readonly url: string;
  readonly up: boolean;
}

/** See the file's beginning. */
export class ClusterPanel {
  readonly #store: Store;
  readonly #onChange: () => void;
  readonly #marks = new Map<string, NodeMark>();
  #shown = "";

  constructor(store: Store, onChange: () => void) {
    this.#store = store;
    this.#onChange = onChange;
  }

  /** By node id. */
  mark(id: string): NodeMark | undefined {
    return this.#marks.get(id);
  }

  /** Addresses of the nodes that are up. */
  upUrls(): string[] {
    return [...this.#marks.values()].filter((mark) => mark.up).map((mark) => mark.url);
  }

  /** Asks for ever. */
  async run(): Promise<never> {
    for (;;) {
      const begun = performance.now();
      try {
        this.#show(await this.#store.cluster({ timeout: TIMEOUT_MS }));
      } catch (error) {
        this.#showLost(error);
      }
      await new Promise((resolve) => setTimeout(resolve, Math.max(100, INTERVAL_MS - (performance.now() - begun))));
    }
  }

  #show(status: ClusterStatus): void {
    const nodes = status.nodes.filter((node) => node.member || node.registered);
    nodes.sort((a, b) => a.url.localeCompare(b.url, "en", { numeric: true }) || a.id.localeCompare(b.id));
    const isUp = (node: NodeStatus): boolean => node.id === status.nodeId || node.reachable;
    const up = nodes.filter(isUp).length;
    const { degraded, unavailable } = status.partitions;
    this.#marks.clear();
    nodes.forEach((node, at) => this.#marks.set(node.id, { letter: letterOf(at), url: node.url, up: isUp(node) }));
    byId("summary").textContent = `${status.cluster}: ${up} of ${nodes.length} nodes up`;
    byId("summary").className = up === nodes.length ? "well" : unavailable > 0 ? "bad" : "hurt";
    const trouble = troubleInWords(nodes.length - up, degraded, unavailable, status.registryConnected);
    byId("trouble").textContent = trouble;
    byId("trouble").hidden = trouble === "";
    byId("foot").textContent = `Holdfast ${status.softwareVersion}, layout ${status.layoutVersion}`;
    const shown = JSON.stringify([...this.#marks, nodes.map((node) => [node.leads, node.replicaOf, node.zone])]);
    if (shown !== this.#shown) {
      this.#shown = shown;
      byId("nodes").replaceChildren(...nodes.map((node, at) => nodeItem(node, letterOf(at), isUp(node))));
      this.#onChange();
    }
  }

  #showLost(error: unknown): void {
    byId("summary").textContent = "No node answers";
    byId("summary").className = "bad";
    byId("trouble").textContent = errorInWords(error);
    byId("trouble").hidden = false;
    for (const [id, mark] of this.#marks) {
      this.#marks.set(id, { ...mark, up: false });
    }
    if (this.#shown !== "lost") {
      this.#shown = "lost";
      for (const item of byId("nodes").children) {
        item.classList.replace("up", "down");
      }
      this.#onChange();
    }
  }
}

function letterOf(at: number): string {
  return at < 26 ? String.fromCharCode(65 + at) : String(at + 1);
}

function nodeItem(node: NodeStatus, letter: string, up: boolean): HTMLElement {
  const address = node.url.replace(/^https?:\/\//, "");
  const detail = up ? `leads ${node.leads} of ${node.replicaOf} partitions` : node.registered ? "not answering" : "gone";
  const item = element("li", { className: up ? "up" : "down", title: `Node ${node.id}${node.zone ? `, zone ${node.zone}` : ""}` },
    element("span", { className: "letter", textContent: letter }),
    element("span", { className: "address", textContent: address }),
    element("span", { className: "state", textContent: up ? "up" : "down" }),
    element("span", { className: "fine", textContent: detail }));
  return item;
}

function troubleInWords(down: number, degraded: number, unavailable: number, registry: boolean): string {
  if (unavailable > 0) {
    return "So many nodes are down that some files cannot be read or changed until one is back.";
  }
  if (down > 0) {
    return `${down === 1 ? "A node is" : `${down} nodes are`} down. Every file can still be read and changed: the others take over.`;
  }
  if (degraded > 0) {
    return "A node has just come back and is being caught up with.";
  }
  return registry ? "" : "The registry does not answer. The nodes go on with what they know.";
}
