/** What applications pass in and get back. */

import type { StoreError } from "./errors.js";

/** Options of a {@link Store}. */
export interface StoreOptions {
  /** The bucket that the store's keys belong to. */
  readonly bucket: string;
  /** Addresses of any nodes of the cluster; the others are learnt from them. Default: where the page came from. */
  readonly endpoints?: string | readonly string[];
  /** How long a call may take unless it says otherwise, in ms. Default 30,000. */
  readonly timeout?: number;
  /** Instead of the platform's. Uploads then have no progress. */
  readonly fetch?: typeof fetch;
}

/** Options of every call. */
export interface CallOptions {
  /** Aborts the call: it rejects with the signal's reason. A mutation may have happened all the same. */
  readonly signal?: AbortSignal;
  /** How long the whole call may take, with all its retries, in ms. */
  readonly timeout?: number;
}

/** What must hold for a mutation to take effect: at most one of the two. */
export interface ConditionOptions {
  /** The version that the object must have; `*`: any, so long as it is there. */
  readonly ifMatch?: string;
  /** `*`: there must be no object. */
  readonly ifNoneMatch?: "*";
}

/** An object, without its bytes. */
export interface ObjectInfo {
  readonly key: string;
  /** Changes with every write; what `ifMatch` compares; the ETag. */
  readonly version: string;
  /** Bytes. */
  readonly size: number;
  /** BLAKE3 of the bytes, 64 hex digits: what `b3sum` prints. */
  readonly hash: string;
  readonly contentType: string;
  /** The user's own names and values. */
  readonly metadata: Readonly<Record<string, string>>;
  readonly modified: Date;
}

/** An object's head, and where it is kept. */
export interface ObjectHead extends ObjectInfo {
  /** Ids of the nodes that hold it, first the one that orders its writes. */
  readonly replicas: readonly string[];
}

/** What can be put. */
export type PutBody = Blob | ArrayBuffer | ArrayBufferView<ArrayBuffer> | string;

/** How far a put is. */
export interface Progress {
  /** Bytes that have left. */
  readonly loaded: number;
  /** Bytes in all. */
  readonly total: number;
}

/** Options of a put. */
export interface PutOptions extends CallOptions, ConditionOptions {
  /** Default: a Blob's own type. */
  readonly contentType?: string;
  /** Names of a-z, 0-9, `-`, `_` and `.`; at most 2,048 bytes in all. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Called as bytes leave, and once at the end. Continuous in windows and workers; elsewhere only at the end. */
  readonly onProgress?: (progress: Progress) => void;
}

/** Options of a delete. */
export interface DeleteOptions extends CallOptions, ConditionOptions {}

/** Bytes of an object: from `start` up to, but not with, `end` (to its end by default), or the last `suffix`. */
export type ByteRange = { readonly start: number; readonly end?: number } | { readonly suffix: number };

/** Options of a get. */
export interface GetOptions extends CallOptions {
  readonly range?: ByteRange;
  /** A version: the answer has status 304 and no body if the object still has it. */
  readonly ifNoneMatch?: string;
}

/** A Response with status 200, 206 (part of the bytes) or 304 (`ifNoneMatch` held), its body verified. */
export interface ObjectResponse extends Response {
  readonly info: ObjectInfo;
}

/** Options of a listing. */
export interface ListOptions extends CallOptions {
  /** Keys that contain it after the prefix are rolled up. */
  readonly delimiter?: string;
  /** Objects and prefixes in a page, at most. */
  readonly pageSize?: number;
}

/** A page of a listing. */
export interface ListPage {
  readonly objects: readonly ObjectInfo[];
  /** With a delimiter: what the rolled-up keys begin with. */
  readonly prefixes: readonly string[];
}

/** A listing: its objects one by one, or page by page. Keys come in the order of their UTF-8 bytes. */
export interface Listing extends AsyncIterable<ObjectInfo> {
  pages(): AsyncIterable<ListPage>;
}

/** One of many puts. */
export interface PutItem extends ConditionOptions {
  readonly key: string;
  readonly body: PutBody;
  readonly contentType?: string;
  readonly metadata?: Readonly<Record<string, string>>;
}

/** How one of many ended, in the order they were given. Each is on its own: there is no atomicity. */
export type ManyResult<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: StoreError };

/** What became of a mutation. */
export type Outcome =
  | { readonly kind: "committed"; readonly version: string }
  /** It has not taken effect and never will. */
  | { readonly kind: "fenced" }
  /** So long ago that nobody can tell. */
  | { readonly kind: "unknown" };

/** A node, as the node that answered sees it. */
export interface NodeStatus {
  readonly id: string;
  readonly url: string;
  readonly zone: string;
  /** In the registry now. */
  readonly registered: boolean;
  /** Heard from within the last second. */
  readonly reachable: boolean;
  /** In the layout. */
  readonly member: boolean;
  readonly softwareVersion: string;
  /** Partitions that it holds, and that it orders the writes of. */
  readonly replicaOf: number;
  readonly leads: number;
}

/** The cluster, as the node that answered sees it. */
export interface ClusterStatus {
  readonly cluster: string;
  /** Who answered. */
  readonly nodeId: string;
  readonly softwareVersion: string;
  readonly uptimeMs: number;
  readonly layoutVersion: number;
  readonly registryConnected: boolean;
  readonly nodes: readonly NodeStatus[];
  /** Partitions by how many of their replicas can be reached: all, a majority, fewer. */
  readonly partitions: {
    readonly total: number;
    readonly whole: number;
    readonly degraded: number;
    readonly unavailable: number;
  };
}
