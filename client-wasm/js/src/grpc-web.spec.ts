import assert from "node:assert/strict";
import { test } from "node:test";

import { frame, NotAReplyError, parseReply } from "./grpc-web.js";
import type { TransportReply } from "./transport.js";

function reply(body: number[], headers: Record<string, string> = {}, status = 200): TransportReply {
  const all: Record<string, string> = { "content-type": "application/grpc-web+proto", ...headers };
  return { status, header: (name) => all[name] ?? null, body: new Uint8Array(body) };
}

function trailers(text: string): number[] {
  const bytes = [...new TextEncoder().encode(text)];
  return [0x80, 0, 0, 0, bytes.length, ...bytes];
}

test("a request is framed without joining its parts", async () => {
  const blob = frame([new Uint8Array([1, 2]), new Uint8Array([3])]);
  assert.deepEqual([...new Uint8Array(await blob.arrayBuffer())], [0, 0, 0, 0, 3, 1, 2, 3]);
  assert.equal(blob.type, "");
});

test("a message and its trailers", () => {
  const parsed = parseReply(reply([0, 0, 0, 0, 1, 7, ...trailers("grpc-status:0\r\ngrpc-message:a%20b\r\n")]));
  assert.deepEqual({ status: parsed.status, message: parsed.message, body: [...(parsed.body ?? [])] }, { status: 0, message: "a b", body: [7] });
});

test("an error comes as headers only, its details without padding", () => {
  const parsed = parseReply(reply([], { "grpc-status": "5", "grpc-message": "caf%C3%A9 %", "grpc-status-details-bin": "CAU" }));
  assert.equal(parsed.status, 5);
  assert.equal(parsed.message, "caf%C3%A9 %");
  assert.deepEqual([...parsed.details], [8, 5]);
});

const bad: Record<string, TransportReply> = {
  "cut off within a header": reply([0, 0, 0]),
  "cut off within a message": reply([0, 0, 0, 0, 2, 1]),
  "cut off within the trailers": reply([0, 0, 0, 0, 1, 7, ...trailers("grpc-status:0\r\n").slice(0, -3)]),
  "no trailers": reply([0, 0, 0, 0, 1, 7]),
  "nothing at all": reply([]),
  "no status": reply(trailers("x: y\r\n")),
  "a status that is no number": reply(trailers("grpc-status:ok\r\n")),
  "two messages": reply([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ...trailers("grpc-status:0\r\n")]),
  "a compressed message": reply([1, 0, 0, 0, 0, ...trailers("grpc-status:0\r\n")]),
  "another content type": reply([], { "content-type": "text/html" }),
  "grpc-web-text": reply([], { "content-type": "application/grpc-web-text" }),
  "an HTTP error": reply([], {}, 502),
};
for (const [name, what] of Object.entries(bad)) {
  test(`not a reply: ${name}`, () => assert.throws(() => parseReply(what), NotAReplyError));
}
