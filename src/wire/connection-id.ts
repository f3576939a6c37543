/**
 * Connection ids: eight random bytes that the receiver of a packet chose for itself.
 * Source: docs/spec/wire.md §3.
 */
import type { RandomBytes } from "../base/random.ts";

/** Bytes of a connection id. Fixed, so that a short header needs no length. */
export const CONNECTION_ID_BYTES = 8;

/** A new random connection id. */
export function newConnectionId(randomBytes: RandomBytes): Uint8Array {
  return randomBytes(new Uint8Array(CONNECTION_ID_BYTES));
}

/**
 * The routing key of the connection id at `at`: its first 30 bits, a number that a map finds without
 * allocating. An endpoint picks its ids so that their keys differ; equal keys do not mean equal ids,
 * so whoever routes by key compares all bytes with `sameConnectionId`.
 */
export function connectionIdKey(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 22) | (bytes[at + 1] << 14) | (bytes[at + 2] << 6) | (bytes[at + 3] >>> 2);
}

/** Whether the connection ids at `at` and `otherAt` are the same. */
export function sameConnectionId(bytes: Uint8Array, at: number, other: Uint8Array, otherAt: number): boolean {
  for (let i = 0; i < CONNECTION_ID_BYTES; i++) if (bytes[at + i] !== other[otherAt + i]) return false;
  return true;
}
