/**
 * One operation from its beginning to its one result. The core decides what is sent where and when, and which answer
 * counts; this performs it.
 */

import { type Client, now, UNREACHABLE_HINT } from "./client.js";
import { type Core, parse } from "./core-host.js";
import { errorOf, type ErrorCode, type Fault, StoreError } from "./errors.js";
import { type GrpcReply, NotAReplyError } from "./grpc-web.js";
import { NoReplyError } from "./transport.js";

/** What the core says must be done. In the order given. */
type Effect =
  | { readonly do: "send"; readonly attempt: number; readonly url: string; readonly retry: boolean; readonly timeoutMs: number }
  | { readonly do: "cancel"; readonly attempt: number }
  | { readonly do: "wake"; readonly at: number }
  | { readonly do: "fresh"; readonly floor: string }
  | { readonly do: "answer"; readonly attempt: number }
  | { readonly do: "failed"; readonly error: Fault };

/** What an operation is. */
export interface Operation<T> {
  /** Such as `holdfast.v1.Objects/Put`. */
  readonly path: string;
  readonly bucket: string;
  /** Empty where any node is as good as any other. */
  readonly key: string;
  /** The first op id of a mutation; undefined for a read. */
  readonly op?: Uint8Array | undefined;
  /** An earlier message carried the op id already and may have taken effect. */
  readonly doubtful?: boolean;
  /** What each attempt uploads, behind what `encode` makes. */
  readonly body?: Uint8Array<ArrayBuffer>;
  /** The request to the node at `url`, but for the body's bytes. `attempt` counts from 1. */
  encode(core: Core, op: Uint8Array, retry: boolean, url: string, attempt: number): Uint8Array;
  /** Reads the answer; may throw a StoreError. */
  read(message: Uint8Array<ArrayBuffer>, url: string): T;
  /** Whether the answer says that nothing was changed. */
  unchanged?(value: T): boolean;
  readonly onProgress?: ((progress: { loaded: number; total: number }) => void) | undefined;
}

/** How long it may take, and what aborts it. */
export interface Limits {
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

/** gRPC statuses that come from servers which never looked inside the request, so that nothing happened. */
const REFUSED_UNSEEN: Readonly<Record<number, ErrorCode>> = { 7: "invalid", 11: "too-large", 12: "invalid", 16: "invalid" };

/** Carries an operation out. */
export async function run<T>(client: Client, operation: Operation<T>, limits: Limits): Promise<T> {
  limits.signal?.throwIfAborted();
  const deadline = now() + limits.timeoutMs;
  await client.load();
  const { op } = operation;
  if (op !== undefined && !client.handle.use((core) => core.knowsTopology())) {
    // A request that breaks a rule is refused before any node is waited for.
    client.handle.use((core) => operation.encode(core, op, false, "", 1));
    await client.ready(deadline, limits.signal);
  }
  limits.signal?.throwIfAborted();
  client.refreshSoon();
  return new Call(client, operation, limits.signal).run(deadline);
}

/** An attempt, and how it ended. */
interface Attempt<T> {
  readonly controller: AbortController;
  readonly url: string;
  readonly result: { readonly value: T } | { readonly error: StoreError } | undefined;
}

class Call<T> {
  readonly #client: Client;
  readonly #operation: Operation<T>;
  readonly #signal: AbortSignal | undefined;
  readonly #generation: number;
  readonly #attempts: Attempt<T>[] = [];
  #number = -1;
  #op: Uint8Array;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #problem: unknown;
  #ended = false;
  #resolve: (value: T) => void = () => undefined;
  #reject: (reason: unknown) => void = () => undefined;

  constructor(client: Client, operation: Operation<T>, signal: AbortSignal | undefined) {
    this.#client = client;
    this.#operation = operation;
    this.#signal = signal;
    this.#generation = client.handle.generation;
    this.#op = operation.op ?? new Uint8Array();
  }

  run(deadline: number): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      this.#signal?.addEventListener("abort", this.#onAbort);
      this.#guard(() => {
        const { bucket, key, op, body, doubtful } = this.#operation;
        const begun = parse<{ call: number; effects: Effect[] }>(this.#client.handle.use((core) =>
          core.begin(
            bucket, key, op !== undefined, body?.byteLength ?? 0, doubtful ?? false, deadline, now(), Math.random() * 2 ** 53,
          )));
        this.#number = begun.call;
        this.#perform(begun.effects);
      });
    });
  }

  readonly #onAbort = (): void => this.#end(() => this.#reject(this.#signal?.reason));

  /** Runs what may throw: the call then ends, and a mutation that was sent may have happened. */
  #guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      const sent = this.#operation.op !== undefined && this.#attempts.length > 0;
      const unknown: Fault = { code: "outcome-unknown", message: "the client failed after it had sent the request" };
      this.#fail(sent ? errorOf(unknown, { cause: error }) : error);
    }
  }

  /** Tells the core of an event, and performs what it says. */
  #event(tell: (core: Core) => string): void {
    if (this.#ended) {
      return;
    }
    this.#guard(() => {
      if (this.#client.handle.generation !== this.#generation) {
        throw errorOf({ code: "internal", message: "the wasm core was started again under this call" });
      }
      this.#perform(parse<Effect[]>(this.#client.handle.use(tell)));
    });
  }

  #perform(effects: readonly Effect[]): void {
    for (const effect of effects) {
      switch (effect.do) {
        case "send":
          this.#send(effect.attempt, effect.url, effect.retry, effect.timeoutMs);
          break;
        case "cancel":
          this.#attempts[effect.attempt]?.controller.abort();
          break;
        case "wake":
          clearTimeout(this.#timer);
          this.#timer = setTimeout(() => this.#event((core) => core.onTime(this.#number, now())), Math.max(0, effect.at - now()));
          break;
        case "fresh":
          this.#op = this.#client.handle.use((core) => freshOpId(core, effect.floor));
          break;
        case "answer":
          this.#answer(effect.attempt);
          break;
        case "failed":
          this.#fail(this.#failure(effect.error));
          break;
      }
    }
  }

  #send(attempt: number, url: string, retry: boolean, timeoutMs: number): void {
    const { path, body, encode } = this.#operation;
    const head = this.#client.handle.use((core) => encode(core, this.#op, retry, url, attempt + 1));
    const controller = new AbortController();
    this.#attempts[attempt] = { controller, url, result: undefined };
    const parts = body === undefined ? [new Uint8Array(head)] : [new Uint8Array(head), body];
    const onUpload = body && ((bytes: number): void => this.#onUpload(attempt, bytes));
    this.#client.send({ url, path, parts, timeoutMs, signal: controller.signal, ...(onUpload && { onUpload }) }).then(
      (reply) => this.#onReply(attempt, url, reply),
      (error: unknown) => this.#onNoReply(attempt, error),
    );
  }

  #onUpload(attempt: number, bytes: number): void {
    if (this.#ended || this.#client.handle.generation !== this.#generation) {
      return;
    }
    this.#client.handle.use((core) => core.onProgress(this.#number, attempt, now()));
    const total = this.#operation.body?.byteLength ?? 0;
    // What frames the body counts as sent first.
    this.#operation.onProgress?.({ loaded: Math.min(bytes, total), total });
  }

  #onNoReply(attempt: number, error: unknown): void {
    this.#problem = error;
    const notSent = error instanceof NoReplyError && !error.sent;
    this.#event((core) => core.onAnswer(this.#number, attempt, notSent ? "not-sent" : "lost", now()));
  }

  #onReply(attempt: number, url: string, reply: GrpcReply): void {
    if (this.#ended) {
      return;
    }
    const answer = this.#readReply(attempt, url, reply);
    this.#event((core) => core.onAnswer(this.#number, attempt, answer, now()));
  }

  /** Keeps the attempt's result; what to tell the core. */
  #readReply(attempt: number, url: string, reply: GrpcReply): string {
    const controller = this.#attempts[attempt]?.controller ?? new AbortController();
    if (reply.status !== 0 || reply.body === undefined) {
      const fault = this.#faultOf(reply);
      if (fault === undefined) {
        this.#problem = new NotAReplyError(`gRPC status ${reply.status} without a word of Holdfast's: ${reply.message}`);
        return "lost";
      }
      this.#attempts[attempt] = { controller, url, result: { error: errorOf(fault, this.#context(url)) } };
      return fault.floor === undefined ? fault.code : `${fault.code}:${fault.floor}`;
    }
    try {
      const value = this.#operation.read(reply.body, url);
      this.#attempts[attempt] = { controller, url, result: { value } };
      return this.#operation.unchanged?.(value) === true ? "unchanged" : "ok";
    } catch (error) {
      this.#problem = error;
      return error instanceof StoreError && error.code === "integrity" ? "damaged" : "lost";
    }
  }

  #faultOf(reply: GrpcReply): Fault | undefined {
    const json = this.#client.handle.use((core) => core.statusError(reply.details));
    if (json !== "") {
      return parse<Fault>(json);
    }
    const code = REFUSED_UNSEEN[reply.status];
    return code === undefined ? undefined : { code, message: reply.message };
  }

  #answer(attempt: number): void {
    const result = this.#attempts[attempt]?.result;
    if (result === undefined) {
      throw new Error("the core chose an attempt that was not answered");
    }
    if ("error" in result) {
      this.#fail(result.error);
    } else {
      this.#end(() => this.#resolve(result.value));
    }
  }

  /** The core's word for an end without an answer. Where nothing that came was an answer, the network is to blame. */
  #failure(fault: Fault): StoreError {
    const network = this.#problem instanceof NotAReplyError || this.#problem instanceof NoReplyError;
    const blamed = network && (fault.code === "unavailable" || fault.code === "timeout");
    const message = `${fault.message} (${String(this.#problem instanceof Error ? this.#problem.message : this.#problem)})`;
    const context = { ...this.#context(undefined), cause: this.#problem, hint: network ? UNREACHABLE_HINT : undefined };
    return errorOf(blamed ? { code: "network", message } : fault, context);
  }

  #context(endpoint: string | undefined): { key: string; endpoint: string | undefined; attempts: number; operation?: string } {
    const operation = this.#operation.op === undefined ? {} : { operation: hexOf(this.#op) };
    return { key: this.#operation.key, endpoint, attempts: this.#attempts.length, ...operation };
  }

  #fail(error: unknown): void {
    this.#end(() => this.#reject(error));
  }

  #end(settle: () => void): void {
    if (this.#ended) {
      return;
    }
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener("abort", this.#onAbort);
    settle();
    for (const attempt of this.#attempts) {
      attempt.controller.abort();
    }
    if (this.#number >= 0 && this.#client.handle.generation === this.#generation) {
      this.#client.handle.use((core) => core.end(this.#number));
    }
  }
}

/** A new op id, above `floor` (in hex, or empty). */
export function freshOpId(core: Core, floor = ""): Uint8Array {
  return core.opId(Date.now(), crypto.getRandomValues(new Uint8Array(10)), bytesOf(floor));
}

/** Lower-case hex. */
export function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What hex digits say. */
export function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}
