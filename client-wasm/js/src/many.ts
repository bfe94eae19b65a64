/**
 * Many puts, many gets: batches to the nodes that hold the keys, since a browser cannot pipeline. What a batch does not
 * settle is carried out on its own, under the same op id.
 */

import { bytesOfBody } from "./body.js";
import { freshOpId, type Limits, type Operation, run } from "./call.js";
import { type Client, internal, now } from "./client.js";
import { Method } from "./core-host.js";
import { errorOf, type ErrorCode, StoreError } from "./errors.js";
import { infoOf, readGetMany, readPutMany, readWhole, type WireGot, type WireInfo } from "./messages.js";
import { conditionOf } from "./store.js";
import type { ManyResult, ObjectInfo, ObjectResponse, PutItem } from "./types.js";

/** Items of a batch, at most: a quarter of what a node takes, so that several are under way at once. */
const BATCH_ITEMS_MAX = 250;
/** Bytes of a batch's bodies, at most: a quarter of what a node takes. */
const BATCH_BYTES_MAX = 4 << 20;
/** How long a batch may take before its items go their own ways, in ms, unless the call ends sooner. */
const BATCH_TIMEOUT_MS = 10_000;
/** Single operations under way at once. */
const SINGLES_MAX = 6;

/** Codes of an item that another try may mend. */
const AGAIN: readonly ErrorCode[] = [
  "unavailable", "overloaded", "timeout", "outcome-unknown", "stale-op-id", "fenced", "integrity", "internal", "too-large",
];
/** Codes that say that nothing happened. */
const NOTHING: readonly ErrorCode[] = ["unavailable", "overloaded", "stale-op-id", "fenced", "too-large"];

/** One item on its way. */
interface Entry<T> {
  readonly at: number;
  readonly key: string;
  readonly item: Uint8Array<ArrayBuffer>;
  readonly body: Uint8Array<ArrayBuffer>;
  /** Carries it out alone. */
  readonly alone: (doubtful: boolean) => Promise<T>;
}

/** Puts them all. */
export async function putMany(
  client: Client,
  bucket: string,
  items: readonly PutItem[],
  limits: Limits,
): Promise<ManyResult<ObjectInfo>[]> {
  const deadline = now() + limits.timeoutMs;
  if (items.length > 0) {
    await client.ready(deadline, limits.signal);
  }
  const prepare = (item: PutItem, at: number): Promise<Entry<ObjectInfo>> => preparePut(client, bucket, item, at, limits, deadline);
  return all(client, bucket, items, prepare, "holdfast.v1.Objects/PutMany", limits, deadline, (message) =>
    readPutMany(client.handle, message).map((result) => ("error" in result ? result : { value: infoOf(result.info) })));
}

/** Gets them all. `toResponse` makes the values. */
export function getMany(
  client: Client,
  bucket: string,
  keys: readonly string[],
  limits: Limits,
  toResponse: (key: string, got: WireGot, message: Uint8Array<ArrayBuffer>, url: string) => ObjectResponse,
): Promise<ManyResult<ObjectResponse>[]> {
  const { handle } = client;
  const deadline = now() + limits.timeoutMs;
  const prepare = async (key: string, at: number): Promise<Entry<ObjectResponse>> => {
    const encode = (item: boolean): Uint8Array => handle.use((core) => core.getRequest(bucket, key, "", "", item));
    const operation: Operation<ObjectResponse> = {
      path: "holdfast.v1.Objects/Get",
      bucket,
      key,
      encode: () => encode(false),
      read: (message, url) => toResponse(key, readWhole<WireGot>(handle, Method.Get, message), message, url),
    };
    const alone = (): Promise<ObjectResponse> => run(client, operation, { ...limits, timeoutMs: deadline - now() });
    return { at, key, item: new Uint8Array(encode(true)), body: new Uint8Array(), alone };
  };
  return all(client, bucket, keys, prepare, "holdfast.v1.Objects/GetMany", limits, deadline, (message, url, batch) =>
    readGetMany(handle, message).map((got, index) =>
      "error" in got ? got : { value: toResponse(batch[index]?.key ?? "", got, message, url) }));
}

async function preparePut(
  client: Client,
  bucket: string,
  put: PutItem,
  at: number,
  limits: Limits,
  deadline: number,
): Promise<Entry<ObjectInfo>> {
  const { handle } = client;
  const { key } = put;
  const body = await bytesOfBody(put.body, key);
  const hash = handle.use((core) => core.hash(handle.fill(core, body)));
  const op = handle.use((core) => freshOpId(core));
  const contentType = put.contentType ?? (put.body instanceof Blob ? put.body.type : "");
  const metadata = Object.entries(put.metadata ?? {}).flat();
  const condition = conditionOf(put);
  const operation: Operation<ObjectInfo> = {
    path: "holdfast.v1.Objects/Put",
    bucket,
    key,
    op,
    body,
    encode: (core, id, retry, url, attempt) =>
      core.putRequest(bucket, key, id, condition, retry, url, attempt, contentType, metadata, hash, body.byteLength, false),
    read: (message) => infoOf(readWhole<{ info: WireInfo }>(handle, Method.Put, message).info),
  };
  const url = urlFor(client, bucket, key);
  // Attempt 0 is the batch: those of the item alone count from 1.
  const item = handle.use((core) =>
    core.putRequest(bucket, key, op, condition, false, url, 0, contentType, metadata, hash, body.byteLength, true));
  const alone = (doubtful: boolean): Promise<ObjectInfo> =>
    run(client, { ...operation, doubtful }, { ...limits, timeoutMs: deadline - now() });
  return { at, key, item: new Uint8Array(item), body, alone };
}

type BatchResult<T> = { readonly value: T } | { readonly error: Parameters<typeof errorOf>[0] };

/** Prepares, sends in batches, and settles one by one what is left. An abort rejects the whole. */
async function all<I, T>(
  client: Client,
  bucket: string,
  items: readonly I[],
  prepare: (item: I, at: number) => Promise<Entry<T>>,
  path: string,
  limits: Limits,
  deadline: number,
  read: (message: Uint8Array<ArrayBuffer>, url: string, batch: readonly Entry<T>[]) => BatchResult<T>[],
): Promise<ManyResult<T>[]> {
  const results = new Array<ManyResult<T>>(items.length);
  const left: { entry: Entry<T>; doubtful: boolean }[] = [];
  const settleBatch = async (batch: readonly Entry<T>[]): Promise<void> => {
    const answers = await sendBatch(client, bucket, batch, path, limits, deadline, read);
    for (const [index, entry] of batch.entries()) {
      const answer = answers?.[index];
      if (answer !== undefined && "value" in answer) {
        results[entry.at] = { ok: true, value: answer.value };
      } else if (answer === undefined || AGAIN.includes(answer.error.code)) {
        left.push({ entry, doubtful: answer === undefined || !NOTHING.includes(answer.error.code) });
      } else {
        results[entry.at] = { ok: false, error: errorOf(answer.error, { key: entry.key, attempts: 1 }) };
      }
    }
  };
  const prepared: Entry<T>[] = [];
  for (const [at, item] of items.entries()) {
    try {
      prepared.push(await prepare(item, at));
    } catch (error) {
      results[at] = { ok: false, error: error instanceof StoreError ? error : internal(error) };
    }
    limits.signal?.throwIfAborted();
  }
  await inParallel(batchesOf(client, bucket, prepared), settleBatch);
  await inParallel(left, async ({ entry, doubtful }) => {
    try {
      results[entry.at] = { ok: true, value: await entry.alone(doubtful) };
    } catch (error) {
      limits.signal?.throwIfAborted();
      results[entry.at] = { ok: false, error: error instanceof StoreError ? error : internal(error) };
    }
  });
  return results;
}

/** The answers of a batch; undefined: none came, and any item may have happened. */
async function sendBatch<T>(
  client: Client,
  bucket: string,
  batch: readonly Entry<T>[],
  path: string,
  limits: Limits,
  deadline: number,
  read: (message: Uint8Array<ArrayBuffer>, url: string, batch: readonly Entry<T>[]) => BatchResult<T>[],
): Promise<BatchResult<T>[] | undefined> {
  limits.signal?.throwIfAborted();
  const timeoutMs = Math.min(BATCH_TIMEOUT_MS, deadline - now());
  if (timeoutMs <= 0) {
    return undefined;
  }
  const url = urlFor(client, bucket, batch[0]?.key ?? "");
  const timeout = AbortSignal.timeout(timeoutMs);
  const signal = limits.signal === undefined ? timeout : AbortSignal.any([limits.signal, timeout]);
  const parts = batch.flatMap((entry) => [entry.item, entry.body]);
  try {
    const reply = await client.send({ url, path, parts, timeoutMs, signal });
    return reply.status === 0 && reply.body !== undefined ? read(reply.body, url, batch) : undefined;
  } catch {
    limits.signal?.throwIfAborted();
    return undefined;
  }
}

function urlFor(client: Client, bucket: string, key: string): string {
  return client.handle.use((core) => core.leaderUrl(bucket, key)) || (client.endpoints[0] ?? "");
}

/** Entries by the node that they go to, within the limits of a batch. */
function batchesOf<T>(client: Client, bucket: string, entries: readonly Entry<T>[]): Entry<T>[][] {
  const byUrl = new Map<string, Entry<T>[][]>();
  for (const entry of entries) {
    const url = urlFor(client, bucket, entry.key);
    const batches = byUrl.get(url) ?? [];
    byUrl.set(url, batches);
    const last = batches.at(-1);
    const bytes = (last ?? []).reduce((sum, { body }) => sum + body.byteLength, entry.body.byteLength);
    if (last === undefined || last.length >= BATCH_ITEMS_MAX || bytes > BATCH_BYTES_MAX) {
      batches.push([entry]);
    } else {
      last.push(entry);
    }
  }
  return [...byUrl.values()].flat();
}

async function inParallel<I>(items: readonly I[], action: (item: I) => Promise<void>): Promise<void> {
  const queue = items[Symbol.iterator]();
  const worker = async (): Promise<void> => {
    for (const item of queue) {
      await action(item);
    }
  };
  await Promise.all(Array.from({ length: SINGLES_MAX }, worker));
}
