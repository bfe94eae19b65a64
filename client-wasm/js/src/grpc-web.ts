/**
 * The grpc-web wire: frames and trailers. What is inside a message is the wasm core's business.
 *
 * A frame is one byte of flags (0x80: trailers; 0x01: compressed), four of length (big-endian), and that many bytes.
 */

import type { TransportReply } from "./transport.js";

const FRAME_HEADER_BYTES = 5;
const TRAILERS_FLAG = 0x80;

/** Exactly this: with a parameter behind it a node answers 400 on HTTP/1.1, and other servers worse. */
export const CONTENT_TYPE = "application/grpc-web+proto";

/** A reply, taken apart. */
export interface GrpcReply {
  /** gRPC's status code; 0: it went well. */
  readonly status: number;
  /** The status's words. */
  readonly message: string;
  /** An encoded google.rpc.Status; empty: none. */
  readonly details: Uint8Array<ArrayBuffer>;
  /** The message; undefined: none came. */
  readonly body: Uint8Array<ArrayBuffer> | undefined;
}

/** What came is not a gRPC reply: cut off, or from something that does not speak grpc-web. */
export class NotAReplyError extends Error {}

/** A request's body: the frame's header, the message's own bytes, and the file's, without copying the file. */
export function frame(parts: readonly Uint8Array<ArrayBuffer>[]): Blob {
  const length = parts.reduce((sum, part) => sum + part.byteLength, 0);
  const header = new DataView(new ArrayBuffer(FRAME_HEADER_BYTES));
  header.setUint32(1, length);
  return new Blob([header, ...parts]);
}

/** Takes a reply apart. Throws {@link NotAReplyError}. */
export function parseReply(reply: TransportReply): GrpcReply {
  if (reply.status !== 200) {
    throw new NotAReplyError(`HTTP status ${reply.status} instead of a gRPC reply`);
  }
  const contentType = reply.header("content-type") ?? "";
  if (!contentType.startsWith("application/grpc-web") || contentType.startsWith("application/grpc-web-text")) {
    throw new NotAReplyError(`content type ${JSON.stringify(contentType)} instead of ${CONTENT_TYPE}`);
  }
  // An error without a message comes as headers only.
  const early = reply.header("grpc-status");
  if (early !== null && reply.body.byteLength === 0) {
    return { ...statusOf(reply.header), body: undefined };
  }
  return parseFrames(reply.body);
}

function parseFrames(bytes: Uint8Array<ArrayBuffer>): GrpcReply {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let body: Uint8Array<ArrayBuffer> | undefined;
  let at = 0;
  while (at < bytes.byteLength) {
    const begin = at + FRAME_HEADER_BYTES;
    const end = begin <= bytes.byteLength ? begin + view.getUint32(at + 1) : Infinity;
    if (end > bytes.byteLength) {
      throw new NotAReplyError("the reply was cut off");
    }
    const flags = view.getUint8(at);
    const content = bytes.subarray(begin, end);
    if (flags === TRAILERS_FLAG) {
      return { ...statusOf(trailersOf(content)), body };
    }
    if (flags !== 0 || body !== undefined) {
      throw new NotAReplyError(flags === 0 ? "more than one message in a reply" : "a frame of unknown kind");
    }
    body = content;
    at = end;
  }
  throw new NotAReplyError("the reply was cut off before its status");
}

type Lookup = (name: string) => string | null;

function trailersOf(content: Uint8Array<ArrayBuffer>): Lookup {
  const trailers = new Map<string, string>();
  for (const line of new TextDecoder().decode(content).split("\r\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) {
      trailers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim());
    }
  }
  return (name) => trailers.get(name) ?? null;
}

function statusOf(lookup: Lookup): Omit<GrpcReply, "body"> {
  const status = Number(lookup("grpc-status") ?? Number.NaN);
  if (!Number.isInteger(status)) {
    throw new NotAReplyError("a reply without grpc-status");
  }
  const message = percentDecode(lookup("grpc-message") ?? "");
  return { status, message, details: base64Decode(lookup("grpc-status-details-bin") ?? "") };
}

function percentDecode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** gRPC leaves the padding out. */
function base64Decode(text: string): Uint8Array<ArrayBuffer> {
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  } catch {
    return new Uint8Array();
  }
}
