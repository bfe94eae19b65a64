/**
 * A stand-in for remote nodes, for tests only: speaks grpc-web over HTTP/1.1, keeps objects in memory that all of one
 * cluster's nodes share, and misbehaves when told to.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** How a node answers requests for objects; one that hangs answers nothing else either. */
export type Mode = "well" | "hangs" | "truncated" | "no-trailers" | "not-grpc" | "silent" | "breaks-off" | "flips-a-bit" | "unavailable" | "acts-then-breaks-off";

interface Stored {
  readonly version: string;
  readonly contentType: string;
  readonly metadata: readonly Uint8Array[];
  readonly hash: Uint8Array;
  readonly body: Uint8Array;
  /** Unix milliseconds. */
  readonly modified: number;
}

/** A request as the node saw it. */
export interface Seen {
  readonly method: string;
  readonly fields: Fields;
  readonly headers: IncomingMessage["headers"];
}

type Fields = Map<number, (Uint8Array | number)[]>;

/** A cluster of nodes on loopback. */
export class PeerDouble {
  readonly nodes: NodeDouble[] = [];
  readonly objects = new Map<string, Stored>();
  writes = 0;
  /** Answers plain GETs; undefined: 404. For pages. */
  onGet: ((path: string) => { readonly type: string; readonly body: Uint8Array } | undefined) | undefined;

  /** Starts `count` nodes. */
  static async start(count: number): Promise<PeerDouble> {
    const cluster = new PeerDouble();
    for (let index = 0; index < count; index += 1) {
      const node = new NodeDouble(cluster, index);
      await node.start();
      cluster.nodes.push(node);
    }
    return cluster;
  }

  /** Their addresses. */
  get urls(): string[] {
    return this.nodes.map((node) => node.url);
  }

  /** Stops all. */
  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.stop()));
  }
}

/** One node. */
export class NodeDouble {
  mode: Mode = "well";
  readonly seen: Seen[] = [];
  /** Requests whose connection the client closed before an answer. */
  aborted = 0;
  url = "";
  readonly #cluster: PeerDouble;
  readonly #index: number;
  readonly #server: Server;

  constructor(cluster: PeerDouble, index: number) {
    this.#cluster = cluster;
    this.#index = index;
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.setHeader("access-control-allow-origin", "*");
    response.setHeader("access-control-expose-headers", "grpc-status, grpc-message, grpc-status-details-bin");
    if (request.method === "OPTIONS") {
      response.setHeader("access-control-max-age", "7200");
      response.setHeader("access-control-allow-headers", request.headers["access-control-request-headers"] ?? "");
      response.end();
      return;
    }
    if (request.method === "GET") {
      this.#get(request.url ?? "", response);
      return;
    }
    if (this.mode === "hangs") {
      return;
    }
    const chunks: Uint8Array[] = [];
    for await (const chunk of request as AsyncIterable<Uint8Array>) {
      chunks.push(chunk);
    }
    const message = new Uint8Array(Buffer.concat(chunks)).subarray(5);
    const method = request.url?.split("/").at(-1) ?? "";
    const fields = decode(message);
    if (method === "Topology") {
      this.#answer(response, this.#topology());
      return;
    }
    this.seen.push({ method, fields, headers: request.headers });
    this.#misbehave(response, () => this.#handle(method, fields));
  }

  #get(path: string, response: ServerResponse): void {
    const [bucketAndKey] = path.split("?");
    const stored = this.#cluster.objects.get(decodeURIComponent(bucketAndKey?.replace(/^\/o\/[^/]+\//, "") ?? ""));
    const found = stored === undefined ? this.#cluster.onGet?.(path) : { type: stored.contentType, body: stored.body };
    response.writeHead(found === undefined ? 404 : 200, { "content-type": found?.type ?? "text/plain" }).end(found?.body);
  }

  #misbehave(response: ServerResponse, handle: () => Uint8Array | Failure): void {
    switch (this.mode) {
      case "silent":
        response.on("close", () => (this.aborted += 1));
        return;
      case "breaks-off":
        response.destroy();
        return;
      case "acts-then-breaks-off":
        handle();
        response.destroy();
        return;
      case "unavailable":
        this.#fail(response, { status: 14, code: "unavailable", message: "too few nodes answer" });
        return;
      case "not-grpc":
        response.writeHead(200, { "content-type": "text/html" }).end("<p>a captive portal</p>");
        return;
      default: {
        const answer = handle();
        if (answer instanceof Uint8Array) {
          this.#answer(response, answer);
        } else {
          this.#fail(response, answer);
        }
      }
    }
  }

  #answer(response: ServerResponse, message: Uint8Array): void {
    const trailers = frame(0x80, new TextEncoder().encode("grpc-status:0\r\n"));
    let data = Buffer.concat([frame(0, message), ...(this.mode === "no-trailers" ? [] : [trailers])]);
    if (this.mode === "truncated") {
      data = data.subarray(0, 5 + message.length - 1);
    }
    if (this.mode === "flips-a-bit") {
      const last = 5 + message.length - 1;
      data[last] = (data[last] ?? 0) ^ 1;
    }
    response.writeHead(200, { "content-type": "application/grpc-web+proto" }).end(data);
  }

  #fail(response: ServerResponse, failure: Failure): void {
    const detail = Buffer.concat([
      bytes(1, failure.code), bytes(2, failure.message), failure.currentVersion ? bytes(3, failure.currentVersion) : Buffer.alloc(0),
    ]);
    const status = Buffer.concat([number(1, failure.status), bytes(3, bytes(2, detail))]);
    response.writeHead(200, {
      "content-type": "application/grpc-web+proto",
      "grpc-status": String(failure.status),
      "grpc-message": encodeURIComponent(failure.message),
      "grpc-status-details-bin": status.toString("base64").replace(/=+$/, ""),
    }).end();
  }

  #status(): Uint8Array {
    const well = this.#cluster.nodes.filter((node) => node.mode === "well").length;
    const all = this.#cluster.nodes.length;
    const nodes = this.#cluster.nodes.map((node, index) => bytes(7, Buffer.concat([
      bytes(1, idOf(index)), bytes(2, node.url), bytes(3, `zone-${index + 1}`), number(4, 1), number(5, node.mode === "well" ? 1 : 0),
      number(6, 1), bytes(7, "0.1.0"), number(8, 1024), number(9, Math.round(1024 / all)),
    ])));
    const counts = Buffer.concat([number(1, 1024), number(2, well === all ? 1024 : 0), number(3, well === all ? 0 : 1024)]);
    return Buffer.concat([bytes(1, "test"), bytes(2, idOf(this.#index)), bytes(3, "0.1.0"), number(5, 1), number(6, 1), ...nodes, bytes(8, counts)]);
  }

  #topology(): Uint8Array {
    const nodes = this.#cluster.nodes.map((node, index) =>
      bytes(5, Buffer.concat([bytes(1, idOf(index)), bytes(2, node.url), number(4, 1)])));
    const replicas = this.#cluster.nodes.map((_, index) => Buffer.from([0, index]));
    const placement = Buffer.concat(Array.from({ length: 1024 }, () => Buffer.concat(replicas)));
    return Buffer.concat([
      bytes(1, "test"), number(2, 1), number(3, this.#cluster.nodes.length), number(4, 1024), ...nodes, bytes(6, placement),
    ]);
  }

  #handle(method: string, fields: Fields): Uint8Array | Failure {
    const { objects } = this.#cluster;
    const key = text(fields, 2);
    const found = objects.get(key);
    switch (method) {
      case "Put":
        return this.#put(fields);
      case "Get":
        return found ? Buffer.concat([bytes(1, info(key, found)), bytes(15, found.body)]) : NOT_FOUND;
      case "Head":
        return found ? Buffer.concat([bytes(1, info(key, found)), ...this.#cluster.nodes.map((_, index) => bytes(2, idOf(index)))]) : NOT_FOUND;
      case "Delete":
        return objects.delete(key) ? number(1, 1) : new Uint8Array();
      case "List": {
        const keys = [...objects.keys()].filter((name) => name.startsWith(text(fields, 2))).sort();
        return Buffer.concat(keys.map((name) => bytes(1, info(name, objects.get(name)!))));
      }
      case "Status":
        return this.#status();
      case "Outcome":
        return Buffer.concat([number(1, 1), bytes(2, "1-1-1-a")]);
      case "PutMany":
        return this.#each(fields, (item) => {
          const answer = this.#put(item);
          return answer instanceof Uint8Array ? answer : bytes(2, detailOf(answer));
        });
      case "GetMany":
        return this.#each(fields, (item) => {
          const answer = this.#handle("Get", item);
          return answer instanceof Uint8Array ? bytes(1, answer) : bytes(2, detailOf(answer));
        });
      default:
        return { status: 12, code: "invalid", message: "no such method" };
    }
  }

  #each(fields: Fields, one: (item: Fields) => Uint8Array): Uint8Array {
    return Buffer.concat((fields.get(1) ?? []).map((item) => bytes(1, one(decode(item as Uint8Array)))));
  }

  #put(fields: Fields): Uint8Array | Failure {
    const key = text(fields, 2);
    const { objects } = this.#cluster;
    const condition = fields.get(4)?.[0];
    const current = objects.get(key)?.version;
    if (condition instanceof Uint8Array) {
      const wanted = decode(condition);
      const kind = wanted.get(1)?.[0];
      const holds = kind === 1 ? current === undefined : kind === 2 ? current !== undefined : current === text(wanted, 2);
      if (!holds) {
        return { status: 9, code: "condition-failed", message: "the condition does not hold", currentVersion: current };
      }
    }
    this.#cluster.writes += 1;
    const stored: Stored = {
      version: `1-1-${this.#cluster.writes.toString(16)}-a`,
      contentType: text(fields, 5) || "application/octet-stream",
      metadata: (fields.get(6) ?? []) as Uint8Array[],
      hash: fields.get(7)?.[0] as Uint8Array,
      body: (fields.get(15)?.[0] as Uint8Array | undefined) ?? new Uint8Array(),
      modified: Date.now(),
    };
    objects.set(key, stored);
    return bytes(1, info(key, stored));
  }
}

interface Failure {
  readonly status: number;
  readonly code: string;
  readonly message: string;
  readonly currentVersion?: string | undefined;
}

const NOT_FOUND: Failure = { status: 5, code: "not-found", message: "there is no such object" };

function detailOf(failure: Failure): Uint8Array {
  return Buffer.concat([bytes(1, failure.code), bytes(2, failure.message)]);
}

function idOf(index: number): string {
  return String(index + 1).padStart(32, "0");
}

function info(key: string, stored: Stored): Uint8Array {
  return Buffer.concat([
    bytes(1, key), bytes(2, stored.version), number(3, stored.body.length), bytes(4, stored.contentType),
    ...stored.metadata.map((entry) => bytes(5, entry)), bytes(6, stored.hash), number(7, stored.modified),
  ]);
}

function text(fields: Fields, field: number): string {
  const value = fields.get(field)?.[0];
  return value instanceof Uint8Array ? new TextDecoder().decode(value) : "";
}

function frame(flags: number, content: Uint8Array): Buffer {
  const header = Buffer.alloc(5);
  header.writeUInt8(flags, 0);
  header.writeUInt32BE(content.length, 1);
  return Buffer.concat([header, content]);
}

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value % 128) + 128, ...varint(Math.floor(value / 128))];
}

function number(field: number, value: number): Buffer {
  return Buffer.from([...varint(field * 8), ...varint(value)]);
}

function bytes(field: number, value: Uint8Array | string): Buffer {
  const content = Buffer.from(value as string);
  return Buffer.concat([Buffer.from([...varint(field * 8 + 2), ...varint(content.length)]), content]);
}

function decode(message: Uint8Array): Fields {
  const fields: Fields = new Map();
  let at = 0;
  const next = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = message[at++] ?? 0;
      value += (byte & 127) * scale;
      if (byte < 128) {
        return value;
      }
    }
  };
  while (at < message.length) {
    const key = next();
    const value = next();
    const isBytes = (key & 7) === 2;
    fields.set(key >> 3, [...(fields.get(key >> 3) ?? []), isBytes ? message.subarray(at, at + value) : value]);
    at += isBytes ? value : 0;
  }
  return fields;
}
