/** Answers, read by the core through its scratch, as the values that applications get. */

import { type Core, type CoreHandle, Method, parse } from "./core-host.js";
import type { Fault } from "./errors.js";
import type { ObjectInfo } from "./types.js";

/** An ObjectInfo as the core writes it. */
export interface WireInfo extends Omit<ObjectInfo, "modified"> {
  /** Unix milliseconds. */
  readonly modified: number;
}

/** A GetResponse as the core writes it. The body lies at `bodyAt` in what was read. */
export interface WireGot {
  readonly info: WireInfo;
  readonly notModified: boolean;
  readonly offset: number;
  readonly bodyAt: number;
  readonly bodyBytes: number;
}

/** A ListResponse as the core writes it. */
export interface WireList {
  readonly objects: readonly WireInfo[];
  readonly prefixes: readonly string[];
  readonly token: string;
}

/** One result of many: what it should be, or an error. */
export type WireResult<T> = T | { readonly error: Fault };

/** An object's info, for applications. */
export function infoOf(wire: WireInfo): ObjectInfo {
  return { ...wire, modified: new Date(wire.modified) };
}

/** Reads an answer that fits into the scratch: all but the ones below. */
export function readWhole<T>(handle: CoreHandle, method: Method, message: Uint8Array): T {
  return parse<T>(handle.use((core) => core.read(method, fillWhole(handle, core, message), false)));
}

/** Reads a listing's page, however long. */
export function readList(handle: CoreHandle, message: Uint8Array): WireList {
  const objects: WireInfo[] = [];
  const prefixes: string[] = [];
  let token = "";
  readWindows<WireList>(handle, Method.List, message, (window) => {
    objects.push(...window.objects);
    prefixes.push(...window.prefixes);
    token = window.token || token;
  });
  return { objects, prefixes, token };
}

/** Reads the results of PutMany. */
export function readPutMany(handle: CoreHandle, message: Uint8Array): WireResult<{ readonly info: WireInfo }>[] {
  const results: WireResult<{ readonly info: WireInfo }>[] = [];
  readWindows<{ results: WireResult<{ info: WireInfo }>[] }>(handle, Method.PutMany, message, (window) => {
    results.push(...window.results);
  });
  return results;
}

/** Reads the results of GetMany: bodies lie in `message`. */
export function readGetMany(handle: CoreHandle, message: Uint8Array): WireResult<WireGot>[] {
  const results: WireResult<WireGot>[] = [];
  readWindows<{ results: WireResult<WireGot>[] }>(handle, Method.GetMany, message, (window, at) => {
    results.push(...window.results.map((got) => ("error" in got ? got : { ...got, bodyAt: got.bodyAt + at })));
  });
  return results;
}

function fillWhole(handle: CoreHandle, core: Core, message: Uint8Array): number {
  // The core refuses what is longer than its scratch.
  return handle.fill(core, message) === message.byteLength ? message.byteLength : Number.MAX_SAFE_INTEGER;
}

/** Reads a message window by window: each begins where the one before stopped understanding. */
function readWindows<T extends object>(
  handle: CoreHandle,
  method: Method,
  message: Uint8Array,
  onWindow: (window: T, at: number) => void,
): void {
  let at = 0;
  do {
    const rest = message.subarray(at);
    const window = parse<T & { next: number }>(handle.use((core) => {
      const length = handle.fill(core, rest);
      return core.read(method, length, length < rest.byteLength);
    }));
    onWindow(window, at);
    at += window.next;
  } while (at < message.byteLength);
}
