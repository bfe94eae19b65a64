/** The store: what applications use. */

import { bytesOfBody } from "./body.js";
import { bytesOf, freshOpId, type Limits, type Operation, run } from "./call.js";
import { Client } from "./client.js";
import { CoreHandle, type CoreSource, Method } from "./core-host.js";
import { InvalidError, NotFoundError } from "./errors.js";
import { getMany, putMany } from "./many.js";
import { infoOf, readList, readWhole, type WireGot, type WireInfo, type WireList } from "./messages.js";
import { PlatformTransport } from "./platform-transport.js";
import type { Transport } from "./transport.js";
import type {
  ByteRange, CallOptions, ClusterStatus, ConditionOptions, DeleteOptions, GetOptions, Listing, ListOptions, ListPage, ManyResult,
  ObjectHead, ObjectInfo, ObjectResponse, Outcome, PutBody, PutItem, PutOptions, StoreOptions,
} from "./types.js";

const TIMEOUT_DEFAULT_MS = 30_000;

/** One bucket of a cluster. Cheap to make; keep one per bucket, since it learns which nodes are well. */
export class BaseStore {
  /** The bucket that its keys belong to. */
  readonly bucket: string;
  readonly #client: Client;
  readonly #timeoutMs: number;

  /** @internal */
  constructor(options: StoreOptions, source: CoreSource, transport?: Transport) {
    const endpoints = endpointsOf(options.endpoints);
    this.bucket = options.bucket;
    this.#timeoutMs = options.timeout ?? TIMEOUT_DEFAULT_MS;
    this.#client = new Client(source, new CoreHandle(endpoints), endpoints, transport ?? new PlatformTransport(options.fetch));
  }

  /** Writes an object, whole, and answers once a majority of its nodes have it on disk. */
  async put(key: string, body: PutBody, options: PutOptions = {}): Promise<ObjectInfo> {
    options.signal?.throwIfAborted();
    const bytes = await bytesOfBody(body, key);
    await this.#client.load();
    const { handle } = this.#client;
    const hash = handle.use((core) => core.hash(handle.fill(core, bytes)));
    const contentType = options.contentType ?? (body instanceof Blob ? body.type : "");
    const metadata = Object.entries(options.metadata ?? {}).flat();
    const condition = conditionOf(options);
    const info = await this.#run<ObjectInfo>({
      path: "holdfast.v1.Objects/Put",
      key,
      op: handle.use((core) => freshOpId(core)),
      body: bytes,
      encode: (core, op, retry, url, attempt) =>
        core.putRequest(this.bucket, key, op, condition, retry, url, attempt, contentType, metadata, hash, bytes.byteLength, false),
      read: (message) => infoOf(readWhole<{ info: WireInfo }>(handle, Method.Put, message).info),
      onProgress: options.onProgress,
    }, options);
    options.onProgress?.({ loaded: bytes.byteLength, total: bytes.byteLength });
    return info;
  }

  /** Reads an object. Rejects with {@link NotFoundError} if there is none, and never hands over bytes without their hash. */
  get(key: string, options: GetOptions = {}): Promise<ObjectResponse> {
    const { handle } = this.#client;
    const range = options.range === undefined ? "" : rangeText(options.range);
    return this.#run({
      path: "holdfast.v1.Objects/Get",
      key,
      encode: (core) => core.getRequest(this.bucket, key, range, options.ifNoneMatch ?? "", false),
      read: (message, url) =>
        responseOf(readWhole<WireGot>(handle, Method.Get, message), message, range !== "", this.#url(url, key)),
    }, options);
  }

  /** What is known of an object without its bytes; null if there is none. */
  async head(key: string, options: CallOptions = {}): Promise<ObjectHead | null> {
    const { handle } = this.#client;
    try {
      return await this.#run({
        path: "holdfast.v1.Objects/Head",
        key,
        encode: (core) => core.headRequest(this.bucket, key),
        read: (message) => {
          const head = readWhole<{ info: WireInfo; replicas: string[] }>(handle, Method.Head, message);
          return { ...infoOf(head.info), replicas: head.replicas };
        },
      }, options);
    } catch (error) {
      if (error instanceof NotFoundError) {
        return null;
      }
      throw error;
    }
  }

  /** Deletes an object. False if there was none. */
  async delete(key: string, options: DeleteOptions = {}): Promise<boolean> {
    await this.#client.load();
    const { handle } = this.#client;
    const condition = conditionOf(options);
    return this.#run({
      path: "holdfast.v1.Objects/Delete",
      key,
      op: handle.use((core) => freshOpId(core)),
      encode: (core, op, retry, url, attempt) =>
        core.deleteRequest(this.bucket, key, op, condition, retry, url, attempt),
      read: (message) => readWhole<{ deleted: boolean }>(handle, Method.Delete, message).deleted,
      unchanged: (deleted) => !deleted,
    }, options);
  }

  /** Lists the objects whose keys begin with `prefix`. */
  list(prefix = "", options: ListOptions = {}): Listing {
    const pages = (): AsyncGenerator<ListPage, void, undefined> => this.#pages(prefix, options);
    return {
      pages,
      async *[Symbol.asyncIterator]() {
        for await (const page of pages()) {
          yield* page.objects;
        }
      },
    };
  }

  /** Settles a mutation that ended as `outcome-unknown`: `operation` is the error's. */
  outcome(key: string, operation: string, options: CallOptions = {}): Promise<Outcome> {
    const { handle } = this.#client;
    return this.#run({
      path: "holdfast.v1.Objects/Outcome",
      key,
      encode: (core) => core.outcomeRequest(this.bucket, key, bytesOf(operation)),
      read: (message) => {
        const { kind, version } = readWhole<{ kind: Outcome["kind"]; version: string }>(handle, Method.Outcome, message);
        return kind === "committed" ? { kind, version } : { kind };
      },
    }, options);
  }

  /** Many puts in few round trips. Each is on its own; the results come in the order of the items. */
  async putMany(items: readonly PutItem[], options: CallOptions = {}): Promise<ManyResult<ObjectInfo>[]> {
    options.signal?.throwIfAborted();
    await this.#client.load();
    return putMany(this.#client, this.bucket, items, this.#limits(options));
  }

  /** Many gets in few round trips. The results come in the order of the keys. */
  async getMany(keys: readonly string[], options: CallOptions = {}): Promise<ManyResult<ObjectResponse>[]> {
    options.signal?.throwIfAborted();
    await this.#client.load();
    return getMany(this.#client, this.bucket, keys, this.#limits(options), (key, got, message, url) =>
      responseOf(got, message, false, this.#url(url, key)));
  }

  /** The cluster, as the node that answers sees it. */
  cluster(options: CallOptions = {}): Promise<ClusterStatus> {
    type Wire = Omit<ClusterStatus, "nodes"> & { nodes: { [name: string]: unknown }[] };
    const { handle } = this.#client;
    return this.#run({
      path: "holdfast.v1.Cluster/Status",
      key: "",
      encode: () => new Uint8Array(),
      read: (message) => {
        const status = readWhole<Wire>(handle, Method.Status, message);
        const flags = (node: { [name: string]: unknown }): object => ({
          ...node, registered: node["registered"] === 1, reachable: node["reachable"] === 1, member: node["member"] === 1,
        });
        return { ...status, nodes: status.nodes.map(flags) } as ClusterStatus;
      },
    }, options);
  }

  /**
   * Where an object can be fetched by plain HTTP, for `<img src>` and links: at a node that holds it and seems well now,
   * or the first endpoint.
   */
  async url(key: string): Promise<string> {
    await this.#client.load();
    this.#client.refreshSoon();
    const best = this.#client.handle.use((core) => core.leaderUrl(this.bucket, key));
    return this.#url(best || (this.#client.endpoints[0] ?? ""), key);
  }

  async *#pages(prefix: string, options: ListOptions): AsyncGenerator<ListPage, void, undefined> {
    const { handle } = this.#client;
    let token = "";
    do {
      const page: WireList = await this.#run({
        path: "holdfast.v1.Objects/List",
        key: "",
        encode: (core) => core.listRequest(this.bucket, prefix, options.delimiter ?? "", token, options.pageSize ?? 0),
        read: (message) => readList(handle, message),
      }, options);
      token = page.token;
      yield { objects: page.objects.map(infoOf), prefixes: page.prefixes };
    } while (token !== "");
  }

  #run<T>(operation: Omit<Operation<T>, "bucket">, options: CallOptions): Promise<T> {
    return run(this.#client, { ...operation, bucket: this.bucket }, this.#limits(options));
  }

  #limits(options: CallOptions): Limits {
    return { timeoutMs: options.timeout ?? this.#timeoutMs, signal: options.signal };
  }

  #url(endpoint: string, key: string): string {
    const path = key.split("/").map(encodeURIComponent).join("/");
    return `${endpoint}/o/${encodeURIComponent(this.bucket)}/${path}`;
  }
}

function endpointsOf(endpoints: string | readonly string[] | undefined): readonly string[] {
  const here = typeof location === "object" && location.origin.startsWith("http") ? [location.origin] : [];
  const list = endpoints === undefined ? here : typeof endpoints === "string" ? [endpoints] : endpoints;
  return list.map((endpoint) => endpoint.replace(/\/+$/, ""));
}

/** A condition as the core takes it. */
export function conditionOf(options: ConditionOptions): string {
  const { ifMatch, ifNoneMatch } = options;
  if (ifMatch !== undefined && ifNoneMatch !== undefined) {
    throw new InvalidError({ code: "invalid", message: "give ifMatch or ifNoneMatch, not both" });
  }
  if (ifNoneMatch !== undefined) {
    return "absent";
  }
  // An empty version would mean "always" to the core: never let a lost version become that.
  if (ifMatch === "" || ifMatch === "absent" || ifMatch === "present") {
    throw new InvalidError({ code: "invalid", message: "ifMatch is a version as it was given to you, or *" });
  }
  return ifMatch === "*" ? "present" : ifMatch ?? "";
}

function rangeText(range: ByteRange): string {
  if ("suffix" in range) {
    return `-${range.suffix}`;
  }
  return `${range.start}-${range.end === undefined ? "" : range.end - 1}`;
}

function responseOf(got: WireGot, message: Uint8Array<ArrayBuffer>, part: boolean, url: string): ObjectResponse {
  const info = infoOf(got.info);
  const headers = new Headers({
    "content-type": info.contentType,
    etag: `"${info.version}"`,
    "last-modified": info.modified.toUTCString(),
    "accept-ranges": "bytes",
  });
  const body = message.subarray(got.bodyAt, got.bodyAt + got.bodyBytes);
  if (part && !got.notModified) {
    headers.set("content-range", `bytes ${got.offset}-${got.offset + got.bodyBytes - 1}/${info.size}`);
  }
  if (!got.notModified) {
    headers.set("content-length", String(got.bodyBytes));
  }
  const status = got.notModified ? 304 : part ? 206 : 200;
  const response = new Response(got.notModified ? null : body, { status, headers });
  return Object.defineProperties(response, { info: { value: info }, url: { value: url } }) as ObjectResponse;
}

