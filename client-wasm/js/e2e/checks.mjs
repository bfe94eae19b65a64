// What the package must do in a browser. Each runs in the page, on its own: it gets { endpoints, run } and throws when
// something is wrong; what it returns is reported.

export const checks = {
  "put, get, head, delete": async ({ endpoints, run }) => {
    const store = new holdfast.Store({ bucket: "e2e", endpoints });
    const key = `${run}/plain.txt`;
    const put = await store.put(key, new Blob(["hello"], { type: "text/plain" }), { metadata: { colour: "grün", "x-n": "7" } });
    const got = await store.get(key);
    const same = (a, b, what) => { if (JSON.stringify(a) !== JSON.stringify(b)) throw new Error(`${what}: ${JSON.stringify(a)} is not ${JSON.stringify(b)}`); };
    same(await got.text(), "hello", "body");
    same(got.headers.get("content-type"), "text/plain", "content type");
    same(got.info, put, "info");
    same(put.metadata, { colour: "grün", "x-n": "7" }, "metadata");
    same(put.hash, "ea8f163db38682925e4491c5e58d4bb3506ef8c14eb78a86e908c5624a67200f", "hash");
    const head = await store.head(key);
    same(head.version, put.version, "head");
    if (head.replicas.length === 0) throw new Error("no replicas");
    same(await store.delete(key), true, "delete");
    same(await store.delete(key), false, "second delete");
    same(await store.head(key), null, "head of nothing");
    const error = await store.get(key).catch((caught) => caught);
    if (!(error instanceof holdfast.NotFoundError)) throw new Error(`get of nothing: ${error}`);
    return { replicas: head.replicas.length };
  },

  conditions: async ({ endpoints, run }) => {
    const store = new holdfast.Store({ bucket: "e2e", endpoints });
    const key = `${run}/conditions`;
    const fails = async (call, version) => {
      const error = await call.catch((caught) => caught);
      if (!(error instanceof holdfast.ConditionFailedError) || error.currentVersion !== version) throw new Error(`expected condition-failed at ${version}: ${error}`);
    };
    await fails(store.put(key, "0", { ifMatch: "*" }), null);
    const first = await store.put(key, "1", { ifNoneMatch: "*" });
    await fails(store.put(key, "2", { ifNoneMatch: "*" }), first.version);
    const second = await store.put(key, "2", { ifMatch: first.version });
    await fails(store.put(key, "3", { ifMatch: first.version }), second.version);
    await fails(store.delete(key, { ifMatch: first.version }), second.version);
    const unchanged = await store.get(key, { ifNoneMatch: second.version });
    if (unchanged.status !== 304) throw new Error(`status ${unchanged.status} instead of 304`);
    await store.delete(key, { ifMatch: second.version });
  },

  "names that are hard to write": async ({ endpoints, run }) => {
    const store = new holdfast.Store({ bucket: "e2e", endpoints });
    const names = ["with spaces.txt", "it's \"quoted\".txt", "100%.txt", "a%20b", "c#sharp", "what?", "中文 文件.txt", "ünïcödé/é", "a+b&c=d;e", "🦀.rs", "back\\slash", "<b>"];
    for (const name of names) {
      const key = `${run}/names/${name}`;
      await store.put(key, name, { contentType: "text/plain;charset=utf-8" });
      if (await (await store.get(key)).text() !== name) throw new Error(`get of ${key}`);
      const plain = await fetch(await store.url(key));
      if (!plain.ok || await plain.text() !== name) throw new Error(`plain HTTP get of ${key}: ${plain.status}`);
    }
    const listed = [];
    for await (const object of store.list(`${run}/names/`, { pageSize: 5 })) listed.push(object.key.slice(`${run}/names/`.length));
    const bytes = (text) => Array.from(new TextEncoder().encode(text), (byte) => byte.toString(16).padStart(2, "0")).join("");
    const sorted = [...names].sort((a, b) => (bytes(a) < bytes(b) ? -1 : 1));
    if (JSON.stringify(listed) !== JSON.stringify(sorted)) throw new Error(`listed ${JSON.stringify(listed)}`);
    return { names: names.length };
  },

  "sizes: empty, one byte, the largest, one over": async ({ endpoints, run }) => {
    const store = new holdfast.Store({ bucket: "e2e", endpoints });
    const largest = new Uint8Array(1 << 20);
    for (let at = 0; at < largest.length; at += 65536) crypto.getRandomValues(largest.subarray(at, at + 65536));
    for (const body of [new Uint8Array(), new Uint8Array([7]), largest]) {
      const key = `${run}/size-${body.length}`;
      const info = await store.put(key, new Blob([body]));
      const got = new Uint8Array(await (await store.get(key)).arrayBuffer());
      if (info.size !== body.length || got.length !== body.length || got.some((byte, at) => byte !== body[at])) throw new Error(`${body.length} bytes came back as ${got.length}`);
    }
    const part = await store.get(`${run}/size-${largest.length}`, { range: { start: 1000, end: 1010 } });
    if (part.status !== 206 || part.headers.get("content-range") !== "bytes 1000-1009/1048576" || (await part.arrayBuffer()).byteLength !== 10) throw new Error("range");
    const error = await store.put(`${run}/over`, new Uint8Array((1 << 20) + 1)).catch((caught) => caught);
    if (!(error instanceof holdfast.TooLargeError) || error.limit !== 1 << 20) throw new Error(`one over: ${error}`);
  },

  "progress of an upload": async ({ endpoints, run }) => {
    const store = new holdfast.Store({ bucket: "e2e", endpoints });
    const events = [];
    await store.put(`${run}/progress`, new Uint8Array(1 << 20), { onProgress: ({ loaded }) => events.push(loaded) });
    if (events.at(-1) !== 1 << 20 || events.some((loaded, at) => at > 0 && loaded < events[at - 1])) throw new Error(`events ${events}`);
    return { events: events.length };
  },

  "abort and timeout": async ({ endpoints, run }) => {
    const store = new holdfast.Store({ bucket: "e2e", endpoints });
    await store.put(`${run}/abort`, "x");
    const reason = { why: "the user said so" };
    for (const call of [(signal) => store.get(`${run}/abort`, { signal }), (signal) => store.put(`${run}/abort`, new Uint8Array(1 << 20), { signal })]) {
      const controller = new AbortController();
      const result = call(controller.signal).then(() => "done", (caught) => caught);
      controller.abort(reason);
      if (await result !== reason) throw new Error("an abort must reject with the signal's reason");
    }
    const error = await store.get(`${run}/abort`, { signal: AbortSignal.abort(reason) }).catch((caught) => caught);
    if (error !== reason) throw new Error("an aborted signal must reject at once");
  },

  "many at once": async ({ endpoints, run }) => {
    const store = new holdfast.Store({ bucket: "e2e", endpoints });
    const items = Array.from({ length: 500 }, (_, at) => ({ key: `${run}/many/${at}`, body: `body ${at}` }));
    const begun = performance.now();
    const puts = await store.putMany(items);
    const putMs = performance.now() - begun;
    const failed = puts.filter((put) => !put.ok);
    if (failed.length > 0) throw new Error(`${failed.length} puts failed: ${failed[0].error}`);
    const gets = await store.getMany([...items.map((item) => item.key), `${run}/many/none`]);
    for (const [at, item] of items.entries()) {
      if (!gets[at].ok || await gets[at].value.text() !== item.body) throw new Error(`get ${at}: ${gets[at].error}`);
    }
    if (gets[500].ok || gets[500].error.code !== "not-found") throw new Error("the one that is not there");
    return { putsPerSecond: Math.round(500_000 / putMs) };
  },

  "bad input is refused in words": async ({ endpoints }) => {
    const store = new holdfast.Store({ bucket: "e2e", endpoints });
    for (const key of ["", "a/../b", "nul\0", "k".repeat(1025)]) {
      const error = await store.put(key, "x").catch((caught) => caught);
      if (!(error instanceof holdfast.InvalidError)) throw new Error(`${JSON.stringify(key.slice(0, 20))}: ${error}`);
    }
  },

  "the cluster": async ({ endpoints }) => {
    const status = await new holdfast.Store({ bucket: "e2e", endpoints }).cluster();
    if (status.nodes.length === 0 || status.partitions.total !== 1024) throw new Error(JSON.stringify(status));
    return { nodes: status.nodes.length };
  },

  "a dead first endpoint": async ({ endpoints, run }) => {
    const store = new holdfast.Store({ bucket: "e2e", endpoints: ["http://127.0.0.1:9", ...endpoints] });
    const begun = performance.now();
    await store.put(`${run}/failover`, "x");
    return { failoverMs: Math.round(performance.now() - begun) };
  },

  "no node at all": async () => {
    const store = new holdfast.Store({ bucket: "e2e", endpoints: "http://127.0.0.1:9", timeout: 700 });
    const error = await store.put("k", "x").catch((caught) => caught);
    if (!(error instanceof holdfast.NetworkError) || !error.retryable || !error.hint) throw new Error(`put: ${error}`);
  },
};
