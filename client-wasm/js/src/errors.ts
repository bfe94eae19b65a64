/**
 * What can go wrong, by what the caller can do about it: a closed list of codes, one class for each thing that a caller
 * handles differently. "May have happened" (`outcome-unknown`) is never mixed with "did not happen" (all others).
 */

/** Every code that a {@link StoreError} can have. All but `network` are the node's own words too. */
export type ErrorCode =
  | "not-found"
  | "condition-failed"
  | "invalid"
  | "too-large"
  | "checksum-mismatch"
  | "range"
  | "unavailable"
  | "timeout"
  | "outcome-unknown"
  | "stale-op-id"
  | "fenced"
  | "overloaded"
  | "disk-full"
  | "integrity"
  | "internal"
  | "network";

/** An error as the wasm core words it. */
export interface Fault {
  readonly code: ErrorCode;
  readonly message: string;
  readonly currentVersion?: string | null;
  readonly limit?: number;
  readonly floor?: string;
}

/** What is known about the operation that failed. */
export interface ErrorContext {
  readonly key?: string | undefined;
  readonly endpoint?: string | undefined;
  readonly attempts?: number;
  readonly operation?: string | undefined;
  readonly hint?: string | undefined;
  readonly cause?: unknown;
}

const RETRYABLE: readonly ErrorCode[] = [
  "unavailable", "timeout", "outcome-unknown", "overloaded", "disk-full", "network",
];

/** Every error of this package, but for an abort, which rejects with the signal's reason unchanged. */
export class StoreError extends Error {
  /** What the caller can do about it. */
  readonly code: ErrorCode;
  /** Whether the same call may succeed later. After `outcome-unknown` look first: it may have happened. */
  readonly retryable: boolean;
  /** The object's key, where there is one. */
  readonly key: string | undefined;
  /** The node that answered so; undefined when no node did. */
  readonly endpoint: string | undefined;
  /** Requests that were sent for this call. */
  readonly attempts: number;
  /** The mutation's operation id, for `outcome()`. */
  readonly operation: string | undefined;
  /** What to look at, where the cause cannot be known. */
  readonly hint: string | undefined;

  /** Made by the package only. */
  constructor(fault: Fault, context: ErrorContext = {}) {
    super(fault.message, context.cause === undefined ? undefined : { cause: context.cause });
    this.name = new.target.name;
    this.code = fault.code;
    this.retryable = RETRYABLE.includes(fault.code);
    this.key = context.key;
    this.endpoint = context.endpoint;
    this.attempts = context.attempts ?? 0;
    this.operation = context.operation;
    this.hint = context.hint;
  }
}

/** There is no such object. */
export class NotFoundError extends StoreError {}

/** The condition does not hold. Nothing was changed. */
export class ConditionFailedError extends StoreError {
  /** The object's version now; null: there is no object. */
  readonly currentVersion: string | null;

  constructor(fault: Fault, context?: ErrorContext) {
    super(fault, context);
    this.currentVersion = fault.currentVersion ?? null;
  }
}

/** The request breaks a rule (`invalid`), or asks for bytes outside the object (`range`): mend it. */
export class InvalidError extends StoreError {}

/** The body is over the limit. */
export class TooLargeError extends StoreError {
  /** The limit in bytes. */
  readonly limit: number;

  constructor(fault: Fault, context?: ErrorContext) {
    super(fault, context);
    this.limit = fault.limit ?? 0;
  }
}

/** It did not happen, and may if asked again: no node could (`unavailable`), or would now (`overloaded`, `disk-full`). */
export class UnavailableError extends StoreError {}

/** What came back, if anything, was not an answer. It changed nothing. See `hint`. */
export class NetworkError extends StoreError {}

/** No answer in time. It changed nothing. */
export class TimeoutError extends StoreError {}

/** It may or may not have happened: `outcome()` with the error's `operation` settles it. */
export class OutcomeUnknownError extends StoreError {}

/** Bytes do not have their hash. */
export class IntegrityError extends StoreError {}

/** A defect of Holdfast's. */
export class InternalError extends StoreError {}

type ErrorClass = new (fault: Fault, context?: ErrorContext) => StoreError;

const CLASSES: Readonly<Record<ErrorCode, ErrorClass>> = {
  "not-found": NotFoundError,
  "condition-failed": ConditionFailedError,
  invalid: InvalidError,
  range: InvalidError,
  "too-large": TooLargeError,
  "checksum-mismatch": IntegrityError,
  integrity: IntegrityError,
  unavailable: UnavailableError,
  overloaded: UnavailableError,
  "disk-full": UnavailableError,
  "stale-op-id": UnavailableError,
  fenced: UnavailableError,
  timeout: TimeoutError,
  "outcome-unknown": OutcomeUnknownError,
  internal: InternalError,
  network: NetworkError,
};

/** The error of a fault, of the class that its code has. */
export function errorOf(fault: Fault, context?: ErrorContext): StoreError {
  return new CLASSES[fault.code](fault, context);
}
