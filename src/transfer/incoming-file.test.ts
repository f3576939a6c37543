import * as fc from "fast-check";
import { expect, test } from "vitest";
import { CHUNK_BYTES } from "../base/limits.ts";
import { ChunkPool } from "../files/chunk-pool.ts";
import { parseSafePath } from "../files/safe-path.ts";
import { PieceRun } from "../transport/objects.ts";
import type { EntryMessage } from "./entry-message.ts";
import { IncomingFile } from "./incoming-file.ts";

const SIZE = 2 * CHUNK_BYTES + 1_000;

/** A file of two chunks and a bit whose chunks are verified by their first bytes. */
function incoming(): IncomingFile {
  const entry: EntryMessage = {
    type: "entry",
    object: 1,
    kind: "file",
    path: "a",
    sizeBytes: SIZE,
    mode: 0o644,
    modifiedAtUs: undefined,
    token: new Uint8Array(16),
    target: "",
  };
  const pool = new ChunkPool(4 * CHUNK_BYTES);
  const path = parseSafePath("a");
  const hash = (bytes: Uint8Array): Uint8Array => bytes.slice(0, 32);
  const file = new IncomingFile(hash, pool, entry, path, new Uint8Array(16), path.components);
  file.handleHashes(
    0,
    [0, 1, 2].map((index) => content.slice(index * CHUNK_BYTES, index * CHUNK_BYTES + 32)),
  );
  return file;
}

const content = Uint8Array.from({ length: SIZE }, (_, i) => (i * 31) ^ (i >>> 8));

/** What each chunk of a file holds, as far as it is complete. */
function chunks(file: IncomingFile): (Uint8Array | undefined)[] {
  return [0, 1, 2].map((index) => {
    const chunk = file.verifyChunk(index, () => expect.unreachable());
    return chunk?.bytes.slice(0, chunk.lengthBytes);
  });
}

test("a run of pieces comes to the same as its pieces one by one, across chunks and twice", () => {
  const piece = fc.integer({ min: 1, max: 3_000 });
  const run = fc.record({
    offset: fc.nat(SIZE - 1),
    lengths: fc.array(piece, { minLength: 1, maxLength: 64 }),
  });
  fc.assert(
    fc.property(fc.array(run, { maxLength: 20 }), (runs) => {
      const together = incoming();
      const oneByOne = incoming();
      const whole = { offset: 0, lengths: [CHUNK_BYTES - 5, 6, CHUNK_BYTES - 1, 400, 600] };
      for (const { offset, lengths } of [...runs, whole]) {
        const pieces = new PieceRun();
        let added = 0;
        let at = offset;
        for (const wanted of lengths) {
          const length = Math.min(wanted, SIZE - at);
          if (length === 0) break;
          pieces.add(1, at, content, at, length);
          added += oneByOne.handlePiece(at, content, at, length);
          at += length;
        }
        expect(together.handlePieces(pieces)).toBe(added);
      }
      const held = chunks(together);
      expect(held.map((bytes, index) => bytes !== undefined && equals(bytes, index))).toEqual([
        true,
        true,
        true,
      ]);
      expect(chunks(oneByOne).map((bytes) => bytes?.length)).toEqual(held.map((bytes) => bytes?.length));
    }),
    { numRuns: 50 },
  );
});

function equals(bytes: Uint8Array, index: number): boolean {
  return Buffer.from(bytes).equals(content.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES));
}

test("a run beyond the end of the file is refused", () => {
  const pieces = new PieceRun();
  pieces.add(1, SIZE - 10, content, 0, 11);
  expect(() => incoming().handlePieces(pieces)).toThrow("beyond the end");
});
