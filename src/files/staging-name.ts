/**
 * Names of godwit's own files in a destination: staging files, journals and locks.
 *
 * `.godwit-<transfer 16 hex digits>-<path 16 hex digits>.part` beside the final name,
 * `.godwit-<transfer>.journal` and `.godwit-<transfer>.lock` in the root of the destination.
 */
import { toHex } from "../base/bytes.ts";
import { encodeUtf8 } from "../base/utf8.ts";
import type { DiskPath } from "./disk.ts";
import type { Hash } from "./hash-tree.ts";

const LEFTOVER_NAME = /^\.godwit-[0-9a-f]{16}(-[0-9a-f]{16}\.part|\.journal|\.lock)$/u;

/** Whether `name` is one of godwit's own files. */
export function isLeftoverName(name: string): boolean {
  return LEFTOVER_NAME.test(name);
}

/** Whether `name` is that of a staging file of `job`. */
export function isStagingOf(job: string, name: string): boolean {
  return isLeftoverName(name) && name.startsWith(`.godwit-${job}-`);
}

/** Name of the job within a destination: 16 hexadecimal digits from the peer's key and its transfer id. */
export function jobName(hash: Hash, peerKey: Uint8Array, transferId: Uint8Array): string {
  const bytes = new Uint8Array(peerKey.length + transferId.length);
  bytes.set(peerKey);
  bytes.set(transferId, peerKey.length);
  return toHex(hash(bytes).subarray(0, 8));
}

/** 16 bytes that stand for a path in the journal. */
export function pathKey(hash: Hash, text: string): Uint8Array {
  return hash(encodeUtf8(text)).slice(0, 16);
}

/** Path of the staging file for the entry `final`. */
export function stagingPath(job: string, final: DiskPath, key: Uint8Array): DiskPath {
  return [...final.slice(0, -1), `.godwit-${job}-${toHex(key.subarray(0, 8))}.part`];
}

/** Path of a job's journal. */
export function journalPath(job: string): DiskPath {
  return [`.godwit-${job}.journal`];
}

/** Path of a job's lock. */
export function lockPath(job: string): DiskPath {
  return [`.godwit-${job}.lock`];
}
