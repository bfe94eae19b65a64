/**
 * The seam between this package and the network: one request, one reply. Everything above it decides; everything below
 * it only carries.
 */

/** A POST to a node. */
export interface TransportRequest {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Blob;
  /** Ends the request at once. */
  readonly signal: AbortSignal;
  /** Bytes of the body that left so far. Called only by transports that can tell. */
  readonly onUpload?: (bytes: number) => void;
}

/** What came back. */
export interface TransportReply {
  readonly status: number;
  readonly header: (name: string) => string | null;
  readonly body: Uint8Array<ArrayBuffer>;
}

/** Carries requests. Rejects with {@link NoReplyError}, or with the signal's reason. */
export interface Transport {
  send(request: TransportRequest): Promise<TransportReply>;
}

/** No reply came. */
export class NoReplyError extends Error {
  /** False only where the request certainly never reached anybody. */
  readonly sent: boolean;

  constructor(message: string, sent: boolean, cause?: unknown) {
    super(message, { cause });
    this.sent = sent;
  }
}
