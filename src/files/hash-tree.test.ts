import { blake3 } from "@noble/hashes/blake3.js";
import { describe, expect, test } from "vitest";
import { toHex } from "../base/bytes.ts";
import { CHUNK_BYTES } from "../base/limits.ts";
import { SeededRandom } from "../base/random.ts";
import { HashForest } from "./hash-tree.ts";

const hash = (bytes: Uint8Array): Uint8Array => blake3(bytes);

/** The definition of docs/spec/files.md §4, recursive as in RFC 6962 §2.1: another way than the forest's. */
function referenceRoot(contentHashes: readonly Uint8Array[], sizeBytes: number): Uint8Array {
  const be = (value: number, bytes: number): Uint8Array => {
    const out = new Uint8Array(bytes);
    let rest = BigInt(value);
    for (let i = bytes - 1; i >= 0; i--, rest >>= 8n) out[i] = Number(rest & 0xffn);
    return out;
  };
  const top = (from: number, to: number): Uint8Array => {
    if (to - from === 1) {
      const length = Math.min(CHUNK_BYTES, sizeBytes - from * CHUNK_BYTES);
      return hash(Buffer.concat([Uint8Array.of(0), be(from, 8), be(length, 4), contentHashes[from]]));
    }
    let left = 1;
    while (left * 2 < to - from) left *= 2;
    return hash(Buffer.concat([Uint8Array.of(1), top(from, from + left), top(from + left, to)]));
  };
  const body = contentHashes.length === 0 ? new Uint8Array(32) : top(0, contentHashes.length);
  return hash(Buffer.concat([Uint8Array.of(2), be(sizeBytes, 8), body]));
}

describe("hash tree", () => {
  const random = new SeededRandom(2, "tree");

  test("any order of arrival gives the root of the recursive definition", () => {
    for (let count = 0; count <= 40; count++) {
      const sizeBytes = count === 0 ? 0 : (count - 1) * CHUNK_BYTES + random.integer(1, CHUNK_BYTES);
      const hashes = Array.from({ length: count }, () => random.bytes(new Uint8Array(32)));
      const forest = new HashForest(hash);
      const order = hashes.map((_, i) => i).sort(() => random.float() - 0.5);
      for (const [done, index] of order.entries()) {
        expect(forest.root(sizeBytes), `${done} of ${count}`).toBeUndefined();
        forest.addChunk(index, Math.min(CHUNK_BYTES, sizeBytes - index * CHUNK_BYTES), hashes[index]);
      }
      expect(toHex(forest.root(sizeBytes) as Uint8Array)).toBe(toHex(referenceRoot(hashes, sizeBytes)));
    }
  });

  test("subtrees of one side complete the other's tree", () => {
    const sizeBytes = 21 * CHUNK_BYTES;
    const hashes = Array.from({ length: 21 }, () => random.bytes(new Uint8Array(32)));
    const had = new HashForest(hash);
    const rest = new HashForest(hash);
    hashes.forEach((contentHash, i) => (i < 13 ? had : rest).addChunk(i, CHUNK_BYTES, contentHash));
    // 13 = 8 + 4 + 1: three subtrees.
    expect(had.subtrees().map(({ height, index }) => [height, index])).toEqual([
      [3, 0],
      [2, 2],
      [0, 12],
    ]);
    for (const { height, index, hash: node } of had.subtrees()) rest.add(height, index, node);
    expect(toHex(rest.root(sizeBytes) as Uint8Array)).toBe(toHex(referenceRoot(hashes, sizeBytes)));
  });

  test("the forest of a file received in order stays small", () => {
    const forest = new HashForest(() => new Uint8Array(32));
    for (let i = 0; i < 100_000; i++) forest.addChunk(i, CHUNK_BYTES, new Uint8Array(32));
    // 100 000 has six bits set: 11000011010100000.
    expect(forest.subtreeCount).toBe(6);
  });

  test("vectors of docs/spec/files.md §4, computed with a separate program", () => {
    const vectors: readonly (readonly [number, string])[] = [
      [0, "5174dee3b5f3a1bf6b518c0d78aa32c4a8946297893e97f9a2c708a835d4e61e"],
      [1, "537b65db52fcd085527d95fabf463e05e7de29d27b8a60c764875aed3f6083be"],
      [CHUNK_BYTES, "41fd7118e7f587934c3f3eabd85df0bea0067b420d746095c35b08cfe9562e70"],
      [CHUNK_BYTES + 1, "567a60dbddc91a3cf65f9d605f41fa9c8a37d6b18125e1b8348e5dc93a7e5a1b"],
      [3 * CHUNK_BYTES, "bc89ae6c1ed8179a2600065101135753b2e08946261c18e36dc4995aaf00daac"],
    ];
    for (const [size, root] of vectors) {
      const bytes = Uint8Array.from({ length: size }, (_, i) => i % 251);
      const forest = new HashForest(hash);
      for (let at = 0; at < size; at += CHUNK_BYTES) {
        const chunk = bytes.subarray(at, at + CHUNK_BYTES);
        forest.addChunk(at / CHUNK_BYTES, chunk.length, hash(chunk));
      }
      expect(toHex(forest.root(size) as Uint8Array), `${size}`).toBe(root);
    }
  });

  test("size and place are bound: the same chunk elsewhere, or a longer file, has another root", () => {
    const contentHash = random.bytes(new Uint8Array(32));
    const roots = new Set<string>();
    for (const [index, size] of [
      [0, 1],
      [0, 2],
      [0, CHUNK_BYTES],
    ]) {
      const forest = new HashForest(hash);
      forest.addChunk(index, size, contentHash);
      roots.add(toHex(forest.root(size) as Uint8Array));
    }
    expect(roots.size).toBe(3);
  });
});
