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
    try {
      const response = await this.#fetch(url, {
        method: "POST", headers, body, signal, credentials: "omit", cache: "no-store", redirect: "error",
      });
      const bytes = new Uint8Array(await response.arrayBuffer());
      return { status: response.status, header: (name) => response.headers.get(name), body: bytes };
    } catch (error) {
      signal.throwIfAborted();
      throw new NoReplyError("no reply came", !neverConnected(error), error);
    }
  }
}

/** Node says why a fetch failed, browsers do not: there only being offline is certain. */
function neverConnected(error: unknown): boolean {
  const cause: unknown = error instanceof Error ? error.cause : undefined;
  const code: unknown = cause instanceof Error && "code" in cause ? cause.code : undefined;
  const refused = code === "ECONNREFUSED" || code === "ENOTFOUND" || code === "EHOSTUNREACH" || code === "ENETUNREACH";
  return refused || (typeof navigator === "object" && navigator.onLine === false);
}
