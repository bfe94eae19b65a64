/** Bodies of puts: checked against the limit before they are read, then read whole (they are small). */

import { InvalidError, TooLargeError } from "./errors.js";
import type { PutBody } from "./types.js";

/** Largest body of an object, in bytes. As `holdfast_core::record` has it. */
export const BODY_BYTES_MAX = 1 << 20;

/** The bytes of a body. */
export async function bytesOfBody(body: PutBody, key: string): Promise<Uint8Array<ArrayBuffer>> {
  if (typeof body === "string") {
    return checked(new TextEncoder().encode(body), key);
  }
  if (body instanceof ArrayBuffer) {
    return checked(new Uint8Array(body), key);
  }
  if (ArrayBuffer.isView(body)) {
    return checked(new Uint8Array(body.buffer, body.byteOffset, body.byteLength), key);
  }
  if (!(body instanceof Blob)) {
    const message = "a body is a Blob (such as a File), an ArrayBuffer, a typed array or a string";
    throw new InvalidError({ code: "invalid", message }, { key });
  }
  checkSize(body.size, key);
  try {
    return new Uint8Array(await body.arrayBuffer());
  } catch (cause) {
    const message = "the file could not be read: was it moved or changed since it was chosen?";
    throw new InvalidError({ code: "invalid", message }, { key, cause });
  }
}

function checked(bytes: Uint8Array<ArrayBuffer>, key: string): Uint8Array<ArrayBuffer> {
  checkSize(bytes.byteLength, key);
  return bytes;
}

function checkSize(size: number, key: string): void {
  if (size > BODY_BYTES_MAX) {
    const message = `the body has ${size} bytes: over ${BODY_BYTES_MAX} (1 MiB), the most that one object can hold`;
    throw new TooLargeError({ code: "too-large", message, limit: BODY_BYTES_MAX }, { key });
  }
}
