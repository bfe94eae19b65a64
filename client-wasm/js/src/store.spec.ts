import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import {
  ConditionFailedError, InternalError, InvalidError, NetworkError, NotFoundError, OutcomeUnknownError, Store, type StoreError,
  TimeoutError, TooLargeError,
} from "./inline.js";
import { type NodeDouble, PeerDouble } from "./peer-double.js";

let cluster: PeerDouble;
let store: Store;
const node = (index: number): NodeDouble => cluster.nodes[index]!;
const everyNode = (mode: NodeDouble["mode"]): void => cluster.nodes.forEach((each) => (each.mode = mode));
const objectCalls = (): number => cluster.nodes.reduce((sum, each) => sum + each.seen.length, 0);

beforeEach(async () => {
  cluster = await PeerDouble.start(3);
  store = new Store({ bucket: "b", endpoints: cluster.urls, timeout: 5_000 });
});
afterEach(() => cluster.stop());

test("what was put is got again, with its metadata and its hash", async () => {
  const put = await store.put("a b/ü#?%.txt", "hello", { contentType: "text/plain", metadata: { colour: "blau ü" } });
  assert.equal(put.hash, "ea8f163db38682925e4491c5e58d4bb3506ef8c14eb78a86e908c5624a67200f");
  const got = await store.get("a b/ü#?%.txt");
  assert.ok(got instanceof Response);
  assert.equal(await got.text(), "hello");
  assert.equal(got.headers.get("content-type"), "text/plain");
  assert.deepEqual(got.info, put);
  assert.deepEqual(put.metadata, { colour: "blau ü" });
  assert.ok(put.modified instanceof Date);
  const head = await store.head("a b/ü#?%.txt");
  assert.equal(head?.replicas.length, 3);
});

test("bodies of every kind, the empty and the largest", async () => {
  const largest = new Uint8Array(1 << 20).fill(7);
  const bodies = { blob: new Blob(["x"], { type: "image/png" }), buffer: new ArrayBuffer(3), view: new Uint8Array([1, 2, 3]).subarray(1), largest, empty: "" };
  for (const [key, body] of Object.entries(bodies)) {
    const info = await store.put(key, body);
    const bytes = new Uint8Array(await (await store.get(key)).arrayBuffer());
    assert.equal(bytes.length, info.size, key);
  }
  assert.equal((await store.head("blob"))?.contentType, "image/png");
  assert.equal((await store.head("view"))?.size, 2);
});

test("a body over the limit is refused before anything is sent", async () => {
  await assert.rejects(store.put("k", new Uint8Array((1 << 20) + 1)), (error: unknown) => {
    assert.ok(error instanceof TooLargeError);
    assert.deepEqual([error.code, error.limit, error.retryable, error.key], ["too-large", 1 << 20, false, "k"]);
    return true;
  });
  assert.equal(objectCalls(), 0);
});

test("bad input is refused before anything is sent", async () => {
  const bad: (() => Promise<unknown>)[] = [
    () => store.put("", "x"),
    () => store.put("a/../b", "x"),
    () => store.put("nul\0", "x"),
    () => store.put("k".repeat(1025), "x"),
    () => store.put("k", "x", { metadata: { Upper: "x" } }),
    () => store.put("k", "x", { metadata: { long: "x".repeat(3000) } }),
    () => store.put("k", "x", { contentType: "ü" }),
    () => store.put("k", "x", { ifMatch: "gibberish" }),
    () => store.put("k", "x", { ifMatch: "" }),
    () => store.put("k", "x", { ifMatch: "1-1-1-a", ifNoneMatch: "*" }),
    () => store.put("k", 7 as unknown as string),
    () => store.get("k", { range: { start: 5, end: 2 } }),
    () => store.get("k", { range: { start: -1 } }),
    () => new Store({ bucket: "Not A Bucket", endpoints: cluster.urls }).head("k"),
    () => new Store({ bucket: "b", endpoints: "ftp://x" }).head("k"),
    () => new Store({ bucket: "b", endpoints: [] }).put("k", "x"),
  ];
  for (const [index, call] of bad.entries()) {
    await assert.rejects(call, InvalidError, `case ${index}`);
  }
  assert.equal(objectCalls(), 0);
});

test("what is not there", async () => {
  await assert.rejects(store.get("none"), NotFoundError);
  assert.equal(await store.head("none"), null);
  assert.equal(await store.delete("none"), false);
});

test("conditions: absent, present, version", async () => {
  const first = await store.put("k", "1", { ifNoneMatch: "*" });
  await assert.rejects(store.put("k", "2", { ifNoneMatch: "*" }), (error: unknown) => {
    assert.ok(error instanceof ConditionFailedError);
    assert.equal(error.currentVersion, first.version);
    return true;
  });
  const second = await store.put("k", "2", { ifMatch: first.version });
  await assert.rejects(store.put("k", "3", { ifMatch: first.version }), ConditionFailedError);
  assert.notEqual((await store.put("k", "3", { ifMatch: "*" })).version, second.version);
  assert.equal(await store.delete("k"), true);
  await assert.rejects(store.put("k", "4", { ifMatch: "*" }), ConditionFailedError);
});

test("the cluster, as a node sees it", async () => {
  node(2).mode = "silent";
  const status = await store.cluster();
  assert.deepEqual(status.nodes.map((each) => each.reachable), [true, true, false]);
  assert.deepEqual([status.nodes[0]!.member, status.registryConnected, status.partitions.degraded], [true, true, 1024]);
});

test("a listing comes in order, page by page or one by one", async () => {
  for (const key of ["b/2", "a", "b/1"]) {
    await store.put(key, key);
  }
  const keys: string[] = [];
  for await (const object of store.list()) {
    keys.push(object.key);
  }
  assert.deepEqual(keys, ["a", "b/1", "b/2"]);
  for await (const page of store.list("b/").pages()) {
    assert.deepEqual(page.objects.map((object) => object.key), ["b/1", "b/2"]);
  }
});

test("a long listing is read in windows", async () => {
  const metadata = { filler: "x".repeat(1900) };
  await store.putMany(Array.from({ length: 900 }, (_, at) => ({ key: `k${at}`, body: "x", metadata })));
  for await (const page of store.list().pages()) {
    assert.equal(page.objects.length, 900);
  }
});

test("many puts and gets, each on its own", async () => {
  const items = Array.from({ length: 300 }, (_, at) => ({ key: `k${at}`, body: new Uint8Array(5000).fill(at) }));
  const puts = await store.putMany([...items, { key: "..", body: "bad" }, { key: "k0", body: "x", ifNoneMatch: "*" }]);
  assert.equal(puts.filter((put) => put.ok).length, 300);
  assert.ok(!puts[300]!.ok && puts[300]!.error instanceof InvalidError);
  assert.ok(!puts[301]!.ok && puts[301]!.error instanceof ConditionFailedError);
  assert.ok(objectCalls() < 10, `${objectCalls()} requests`);
  const gets = await store.getMany(["k7", "none", "k299"]);
  assert.ok(gets[0]!.ok && gets[2]!.ok);
  assert.deepEqual(new Uint8Array(await gets[0]!.value.arrayBuffer()), items[7]!.body);
  assert.deepEqual(new Uint8Array(await gets[2]!.value.arrayBuffer()), items[299]!.body);
  assert.ok(!gets[1]!.ok && gets[1]!.error instanceof NotFoundError);
});

test("a batch that was lost is settled one by one, under the same op ids", async () => {
  node(0).mode = "acts-then-breaks-off";
  const puts = await store.putMany([{ key: "a", body: "1" }, { key: "b", body: "2" }]);
  assert.deepEqual(puts.map((put) => put.ok), [true, true]);
  const batch = node(0).seen.find((seen) => seen.method === "PutMany");
  const alone = cluster.nodes.flatMap((each) => each.seen).filter((seen) => seen.method === "Put");
  assert.ok(batch && alone.length >= 2);
  for (const seen of alone) {
    assert.equal(seen.fields.get(8)?.[0], 1, "must say that an earlier message may still take effect");
  }
});

for (const mode of ["breaks-off", "truncated", "no-trailers", "not-grpc", "unavailable"] as const) {
  test(`a node that is ${mode} costs no failed call`, async () => {
    await store.put("k", "1");
    node(0).mode = mode;
    assert.equal((await store.put("k", "2")).size, 1);
    for (let round = 0; round < 4; round += 1) {
      assert.equal(await (await store.get("k")).text(), "2");
    }
    const puts = cluster.nodes.flatMap((each) => each.seen).filter((seen) => seen.method === "Put").slice(1);
    const ids = new Set(puts.map((seen) => Buffer.from(seen.fields.get(3)?.[0] as Uint8Array).toString("hex")));
    assert.equal(ids.size, 1, "a retry keeps its op id");
  });
}

test("a node that is gone costs no failed call, and the others are learnt from one", async () => {
  const learner = new Store({ bucket: "b", endpoints: node(0).url, timeout: 5_000 });
  await learner.put("k", "1");
  await node(0).stop();
  assert.equal((await learner.put("k", "2")).size, 1);
  assert.equal(await (await learner.get("k")).text(), "2");
});

test("a silent node is hedged", async () => {
  await store.put("k", "1");
  node(0).mode = "silent";
  const before = performance.now();
  await store.put("k", "2");
  assert.ok(performance.now() - before < 3_000);
});

test("a first put does not wait for a node that hangs", async (context) => {
  node(0).mode = "hangs";
  context.mock.method(Math, "random", () => 0);
  const newcomer = new Store({ bucket: "b", endpoints: cluster.urls, timeout: 2_000 });
  assert.equal((await newcomer.put("k", "1")).size, 1);
});

test("a damaged body never reaches the caller", async () => {
  await store.put("k", "hello");
  everyNode("flips-a-bit");
  await assert.rejects(store.get("k", { timeout: 2_000 }), (error: StoreError) => error.code === "integrity");
  node(1).mode = "well";
  assert.equal(await (await store.get("k")).text(), "hello");
});

for (const mode of ["truncated", "no-trailers", "not-grpc"] as const) {
  test(`reads where every node is ${mode} end as a network error`, async () => {
    await store.put("k", "1");
    everyNode(mode);
    await assert.rejects(store.get("k", { timeout: 300 }), (error: unknown) => {
      assert.ok(error instanceof NetworkError, String(error));
      assert.deepEqual([error.code, error.retryable], ["network", true]);
      assert.ok(error.attempts > 0 && error.hint !== undefined);
      return true;
    });
  });
}

test("a put that was sent and never answered may have happened, and says under which id", async () => {
  await store.put("k", "1");
  everyNode("acts-then-breaks-off");
  await assert.rejects(store.put("k", "2", { timeout: 300 }), (error: unknown) => {
    assert.ok(error instanceof OutcomeUnknownError, String(error));
    assert.match(error.operation ?? "", /^[0-9a-f]{32}$/);
    return true;
  });
});

test("outcome settles it", async () => {
  assert.deepEqual(await store.outcome("k", "0".repeat(32)), { kind: "committed", version: "1-1-1-a" });
});

test("where no node can be reached at all, a put certainly did not happen", async () => {
  const nowhere = new Store({ bucket: "b", endpoints: "http://127.0.0.1:1", timeout: 300 });
  await assert.rejects(nowhere.put("k", "1"), (error: unknown) => error instanceof NetworkError && error.retryable);
});

test("a read of silent nodes times out", async () => {
  await store.put("k", "1");
  everyNode("silent");
  const before = performance.now();
  await assert.rejects(store.get("k", { timeout: 200 }), (error: unknown) => error instanceof TimeoutError);
  assert.ok(performance.now() - before < 1_000);
});

test("an abort rejects with the signal's reason, at once, and ends the request", async () => {
  await store.put("k", "1");
  everyNode("silent");
  const reason = { why: "the user said so" };
  for (const call of [(signal: AbortSignal) => store.get("k", { signal }), (signal: AbortSignal) => store.put("k", "2", { signal })]) {
    const controller = new AbortController();
    const result = call(controller.signal).then(() => undefined, (error: unknown) => error);
    await new Promise((resolve) => setTimeout(resolve, 100));
    const before = performance.now();
    controller.abort(reason);
    assert.equal(await result, reason);
    assert.ok(performance.now() - before < 50);
  }
  const aborted = (): number => cluster.nodes.reduce((sum, each) => sum + each.aborted, 0);
  while (aborted() < 2) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  await assert.rejects(store.get("k", { signal: AbortSignal.abort(reason) }), (error: unknown) => error === reason);
});

test("requests carry what nodes expect, and progress ends at the whole", async () => {
  const progress: number[] = [];
  await store.put("k", "12345", { onProgress: ({ loaded }) => progress.push(loaded) });
  assert.equal(progress.at(-1), 5);
  const seen = cluster.nodes.flatMap((each) => each.seen)[0]!;
  assert.equal(seen.headers["content-type"], "application/grpc-web+proto");
  assert.match(String(seen.headers["grpc-timeout"]), /^\d{1,8}m$/);
});

test("addresses for images are percent-encoded", async () => {
  await store.put("k", "1");
  assert.match(await store.url("a b/ü#?%.png"), /^http:\/\/127\.0\.0\.1:\d+\/o\/b\/a%20b\/%C3%BC%23%3F%25\.png$/);
});

test("errors have classes", () => assert.ok(new InternalError({ code: "internal", message: "m" }) instanceof Error));
