/**
 * The hash tree over the chunks of a file: binds every chunk to its place and the whole to its size.
 *
 * leaf(i)   = H(00 | index as 64 bits | length as 32 bits | H(chunk))
 * node(a,b) = H(01 | a | b)
 * root      = H(02 | size as 64 bits | top), top = 32 zero bytes for an empty file
 *
 * with H = BLAKE3 with a 32-byte result. The tree has the shape of RFC 6962 §2.1: the left part is
 * the largest power of two below the number of chunks. Vectors: docs/spec/files.md §4.
 */
import { assert } from "../base/assert.ts";
import { writeUint32 } from "../base/bytes.ts";
import { CHUNK_BYTES } from "../base/limits.ts";

/** BLAKE3 with a 32-byte result; the host's. Keeps nothing of its argument. */
export type Hash = (bytes: Uint8Array) => Uint8Array;

/** Bytes of one hash. */
export const HASH_BYTES = 32;

/** Number of chunks of a file of `sizeBytes`. */
export function chunkCount(sizeBytes: number): number {
  return Math.ceil(sizeBytes / CHUNK_BYTES);
}

/** Bytes of chunk `index` of a file of `sizeBytes`. */
export function chunkLength(sizeBytes: number, index: number): number {
  return Math.min(CHUNK_BYTES, sizeBytes - index * CHUNK_BYTES);
}

/** Hash of a leaf from the hash of its chunk's bytes. */
export function leafHash(
  hash: Hash,
  index: number,
  lengthBytes: number,
  contentHash: Uint8Array,
): Uint8Array {
  const bytes = new Uint8Array(45);
  writeUint64(bytes, 1, index);
  writeUint32(bytes, 9, lengthBytes);
  bytes.set(contentHash, 13);
  return hash(bytes);
}

/** Hash of an inner node. */
export function nodeHash(hash: Hash, left: Uint8Array, right: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(65);
  bytes[0] = 1;
  bytes.set(left, 1);
  bytes.set(right, 33);
  return hash(bytes);
}

/** Root of a file of `sizeBytes` whose tree ends in `top`; `undefined` for an empty file. */
export function rootHash(hash: Hash, sizeBytes: number, top: Uint8Array | undefined): Uint8Array {
  const bytes = new Uint8Array(41);
  bytes[0] = 2;
  writeUint64(bytes, 1, sizeBytes);
  if (top !== undefined) bytes.set(top, 9);
  return hash(bytes);
}

function writeUint64(bytes: Uint8Array, at: number, value: number): void {
  writeUint32(bytes, at, Math.floor(value / 0x1_0000_0000));
  writeUint32(bytes, at + 4, value % 0x1_0000_0000);
}

/** A complete subtree: the node at `index` among those of `height`, over `2^height` leaves. */
export interface Subtree {
  readonly height: number;
  readonly index: number;
  readonly hash: Uint8Array;
}

/** Tallest tree: 2^53 bytes in chunks of 2^18 are 2^35 leaves. */
export const TREE_HEIGHT = 35;

/**
 * Complete subtrees of one file, merged as leaves arrive in any order. Its size grows with the number
 * of holes, not with the size of the file.
 */
export class HashForest {
  private readonly hash: Hash;
  private readonly nodes = new Map<number, Uint8Array>();

  constructor(hash: Hash) {
    this.hash = hash;
  }

  /** Number of subtrees held. */
  get subtreeCount(): number {
    return this.nodes.size;
  }

  /** Adds leaf `index` from its chunk's length and content hash. */
  addChunk(index: number, lengthBytes: number, contentHash: Uint8Array): void {
    this.add(0, index, leafHash(this.hash, index, lengthBytes, contentHash));
  }

  /** Adds a subtree and merges it with its complete neighbours. */
  add(height: number, index: number, hash: Uint8Array): void {
    let value = hash;
    let level = height;
    let at = index;
    for (;;) {
      const sibling = at % 2 === 0 ? at + 1 : at - 1;
      const other = this.nodes.get(key(level, sibling));
      if (other === undefined) break;
      this.nodes.delete(key(level, sibling));
      value = at % 2 === 0 ? nodeHash(this.hash, value, other) : nodeHash(this.hash, other, value);
      level++;
      at = Math.floor(at / 2);
    }
    assert(!this.nodes.has(key(level, at)), "a subtree is added once");
    this.nodes.set(key(level, at), value);
  }

  /** The subtrees held, in the order of their leaves. */
  subtrees(): Subtree[] {
    return [...this.nodes]
      .map(([at, hash]) => ({ height: at % 64, index: Math.floor(at / 64), hash }))
      .sort((a, b) => a.index * 2 ** a.height - b.index * 2 ** b.height);
  }

  /** Root of a file of `sizeBytes`, or `undefined` while a chunk is missing. */
  root(sizeBytes: number): Uint8Array | undefined {
    const count = chunkCount(sizeBytes);
    if (count === 0) return rootHash(this.hash, sizeBytes, undefined);
    const parts: Uint8Array[] = [];
    let left = count;
    let at = 0;
    while (left > 0) {
      const height = Math.floor(Math.log2(left));
      const part = this.nodes.get(key(height, at / 2 ** height));
      if (part === undefined) return undefined;
      parts.push(part);
      at += 2 ** height;
      left -= 2 ** height;
    }
    let top = parts[parts.length - 1];
    for (let i = parts.length - 2; i >= 0; i--) top = nodeHash(this.hash, parts[i], top);
    return rootHash(this.hash, sizeBytes, top);
  }
}

function key(height: number, index: number): number {
  return index * 64 + height;
}
