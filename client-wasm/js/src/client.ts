/** What all calls of one store share: the core, the transport, and keeping the topology fresh. */

import { type CoreHandle, type CoreSource, loadCore, parse } from "./core-host.js";
import { errorOf, NetworkError, type StoreError } from "./errors.js";
import { CONTENT_TYPE, frame, type GrpcReply, parseReply } from "./grpc-web.js";
import type { Transport } from "./transport.js";

/** A topology request that takes longer has failed, in ms. As the core's policy has it. */
const REFRESH_TIMEOUT_MS = 3_000;
/** How often to look again while no node has answered yet, in ms. */
const READY_INTERVAL_MS = 50;

/** What to look at when no node answers: a browser does not say why. */
export const UNREACHABLE_HINT =
  "Is a node running there? Is the browser online? A page from https:// cannot ask http:// nodes; a public page needs the "
  + "user's leave for nodes in a local network; and certificates must be trusted.";

/** A message on its way to a node. */
export interface Request {
  readonly url: string;
  /** Such as `holdfast.v1.Objects/Put`. */
  readonly path: string;
  readonly parts: readonly Uint8Array<ArrayBuffer>[];
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  readonly onUpload?: (bytes: number) => void;
}

/** See the file's beginning. */
export class Client {
  readonly handle: CoreHandle;
  readonly endpoints: readonly string[];
  readonly #source: CoreSource;
  readonly #transport: Transport;
  /** Topology requests under way. */
  readonly #refreshes = new Set<Promise<void>>();

  constructor(source: CoreSource, handle: CoreHandle, endpoints: readonly string[], transport: Transport) {
    this.#source = source;
    this.handle = handle;
    this.endpoints = endpoints;
    this.#transport = transport;
  }

  /** Loads the core. */
  load(): Promise<void> {
    return loadCore(this.#source);
  }

  /** Sends one message and takes the reply apart. Rejects with what the transport, or {@link parseReply}, throws. */
  async send(request: Request): Promise<GrpcReply> {
    const { url, path, parts, timeoutMs, signal, onUpload } = request;
    const headers = {
      "content-type": CONTENT_TYPE,
      "x-grpc-web": "1",
      // At most 8 digits.
      "grpc-timeout": `${Math.max(1, Math.min(Math.ceil(timeoutMs), 99_999_999))}m`,
    };
    const reply = await this.#transport.send({
      url: `${url}/${path}`, headers, body: frame(parts), signal, ...(onUpload && { onUpload }),
    });
    return parseReply(reply);
  }

  /** Asks for the topology if that is due, beside whatever goes on. */
  refreshSoon(): void {
    try {
      this.#refresh();
    } catch {
      // What is wrong with the core or the endpoints, the call itself reports.
    }
  }

  /**
   * Waits until some node has named the others. Mutations do so before they send anything: where no node can be reached
   * at all, it is then certain that nothing happened.
   */
  async ready(deadline: number, signal: AbortSignal | undefined): Promise<void> {
    while (!this.handle.use((core) => core.knowsTopology())) {
      signal?.throwIfAborted();
      if (now() >= deadline) {
        throw this.unreachable();
      }
      this.#refresh();
      // Any answer will do; and one that lets wait is no reason not to ask another node.
      await Promise.race([...this.#refreshes, new Promise((resolve) => setTimeout(resolve, READY_INTERVAL_MS))]);
    }
  }

  /** No node could be reached. */
  unreachable(): StoreError {
    const message = `no node could be reached at ${this.endpoints.join(", ")}: nothing was changed`;
    return new NetworkError({ code: "network", message }, { hint: UNREACHABLE_HINT });
  }

  #refresh(): void {
    const due = parse<{ node: number; url: string } | null>(
      this.handle.use((core) => core.refreshDue(now(), Math.random() * 2 ** 53)),
    );
    if (due !== null) {
      const ended = this.#askTopology(due.node, due.url).finally(() => this.#refreshes.delete(ended));
      this.#refreshes.add(ended);
    }
  }

  /** Never rejects. */
  async #askTopology(node: number, url: string): Promise<void> {
    let message: Uint8Array<ArrayBuffer> = new Uint8Array();
    const path = "holdfast.v1.Cluster/Topology";
    const signal = AbortSignal.timeout(REFRESH_TIMEOUT_MS);
    try {
      const reply = await this.send({ url, path, parts: [], timeoutMs: REFRESH_TIMEOUT_MS, signal });
      message = reply.body ?? message;
    } catch {
      // Any failure is the same to the core: this node gave no topology.
    }
    try {
      this.handle.use((core) => core.onRefresh(node, this.handle.fill(core, message), now()));
    } catch {
      // The core has noted that this answer is of no use.
    }
  }
}

/** Milliseconds of a clock that never goes back. */
export function now(): number {
  return Math.floor(performance.now());
}

/** An error that a client makes of what it caught, whatever that is. */
export function internal(cause: unknown): StoreError {
  return errorOf({ code: "internal", message: "a defect of the client: please report this" }, { cause });
}
