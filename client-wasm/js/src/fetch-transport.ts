/** Requests by fetch: everywhere, but with no word on how much was sent. */

import { NoReplyError, type Transport, type TransportReply, type TransportRequest } from "./transport.js";

/** Carries requests by fetch. */
export class FetchTransport implements Transport {
  readonly #fetch: typeof fetch;

  constructor(fetchFunction: typeof fetch) {
    this.#fetch = fetchFunction;
  }

  async send(request: TransportRequest): Promise<TransportReply> {
    const { url, headers, body, signal } = request;
    const wasOffline = isOffline();
    try {
      const response = await this.#fetch(url, {
        method: "POST", headers, body, signal, credentials: "omit", cache: "no-store", redirect: "error",
      });
      const bytes = new Uint8Array(await response.arrayBuffer());
      return { status: response.status, header: (name) => response.headers.get(name), body: bytes };
    } catch (error) {
      signal.throwIfAborted();
      throw new NoReplyError("no reply came", !(neverConnected(error) || (wasOffline && isOffline())), error);
    }
  }
}

/** Browsers do not say why a fetch failed: there only having been offline all the time is certain. */
function isOffline(): boolean {
  return typeof navigator === "object" && navigator.onLine === false;
}

/** Node says why a fetch failed. */
function neverConnected(error: unknown): boolean {
  const cause: unknown = error instanceof Error ? error.cause : undefined;
  const code: unknown = cause instanceof Error && "code" in cause ? cause.code : undefined;
  return code === "ECONNREFUSED" || code === "ENOTFOUND" || code === "EHOSTUNREACH" || code === "ENETUNREACH";
}
