/** The transport that is used unless the caller brings one. */

import { FetchTransport } from "./fetch-transport.js";
import type { Transport, TransportReply, TransportRequest } from "./transport.js";
import { XhrTransport } from "./xhr-transport.js";

/** Above this many bytes an upload's progress is worth having: it shows that a slow line is alive. */
const UPLOAD_WATCHED_BYTES_MIN = 128 * 1024;

/** Fetch, but XMLHttpRequest where there is one and progress matters: fetch cannot tell how much it has sent. */
export class PlatformTransport implements Transport {
  readonly #fetch: Transport;
  readonly #xhr: Transport | undefined;

  constructor(fetchOption: typeof fetch | undefined) {
    this.#fetch = new FetchTransport(fetchOption ?? ((input, init) => fetch(input, init)));
    // Service workers and Node have none. A fetch of the user's own is used for everything.
    this.#xhr = fetchOption === undefined && typeof XMLHttpRequest === "function" ? new XhrTransport() : undefined;
  }

  send(request: TransportRequest): Promise<TransportReply> {
    const watched = request.onUpload !== undefined && request.body.size >= UPLOAD_WATCHED_BYTES_MIN;
    return (watched ? this.#xhr ?? this.#fetch : this.#fetch).send(request);
  }
}
