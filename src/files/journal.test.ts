import { blake3 } from "@noble/hashes/blake3.js";
import { describe, expect, test } from "vitest";
import { CHUNK_BYTES } from "../base/limits.ts";
import { SeededRandom } from "../base/random.ts";
import type { EntryFacts } from "./disk.ts";
import { chunkLength, HashForest } from "./hash-tree.ts";
import type { JournalContents } from "./journal.ts";
import { emptyJournal, JournalDecoder, JournalEncoder } from "./journal.ts";

const random = new SeededRandom(1, "journal");
const some = (size: number): Uint8Array => random.bytes(new Uint8Array(size));
const hash = (bytes: Uint8Array): Uint8Array => blake3(bytes);

const FILE_A = { key: some(16), token: some(16), sizeBytes: 10 * CHUNK_BYTES + 3 };
const FILE_B = { key: some(16), token: some(16), sizeBytes: 5 };
const HASHES = Array.from({ length: 11 }, () => some(32));
const FACTS: EntryFacts = {
  kind: "file",
  sizeBytes: 77,
  mode: 0o600,
  modifiedAtUs: 1_700_000_000_000_001,
  changedAtUs: 1_700_000_000_000_002,
  identity: "1:2",
  links: 1,
};

/** A journal of several records, and where each ends. */
function written(): { bytes: Uint8Array; ends: number[] } {
  const encoder = new JournalEncoder(hash, emptyJournal(hash), "job");
  const parts: Uint8Array[] = [];
  const ends: number[] = [];
  let size = 0;
  const cut = (): void => {
    const part = encoder.take();
    parts.push(part);
    ends.push((size += part.length));
  };
  cut();
  encoder.addFile(FILE_A, "1:2");
  cut();
  encoder.addChunks(
    FILE_A.key,
    [0, 1, 2].map((index) => ({ index, contentHash: HASHES[index] })),
  );
  cut();
  encoder.addChunks(FILE_A.key, [{ index: 10, contentHash: HASHES[10] }]);
  cut();
  encoder.addClean(FILE_A.key, FACTS);
  cut();
  encoder.addIntent(FILE_B, HASHES[4], "1:3");
  cut();
  return { bytes: new Uint8Array(Buffer.concat(parts)), ends };
}

function read(bytes: Uint8Array, step = bytes.length, job = "job"): JournalContents {
  const decoder = new JournalDecoder(hash, job);
  for (let at = 0; at < bytes.length && !decoder.hasStopped; at += step)
    decoder.handleBytes(bytes.subarray(at, at + step));
  return decoder.finish();
}

const summary = (contents: JournalContents): unknown => ({
  files: [...contents.files.values()].map(({ have, clean, identity, sizeBytes }) => [
    have.toArray(),
    clean,
    identity,
    sizeBytes,
  ]),
  intents: [...contents.intents.values()].map(({ identity, sizeBytes }) => [identity, sizeBytes]),
});

/** What may be read back: the state after each record, and nothing else. Worked out from what was written. */
const CLEAN = { sizeBytes: 77, modifiedAtUs: 1_700_000_000_000_001, changedAtUs: 1_700_000_000_000_002 };
const SIZE = FILE_A.sizeBytes;
const STATES: readonly unknown[] = [
  { files: [], intents: [] },
  { files: [[[], undefined, "1:2", SIZE]], intents: [] },
  { files: [[[[0, 3]], undefined, "1:2", SIZE]], intents: [] },
  {
    files: [
      [
        [
          [0, 3],
          [10, 11],
        ],
        undefined,
        "1:2",
        SIZE,
      ],
    ],
    intents: [],
  },
  {
    files: [
      [
        [
          [0, 3],
          [10, 11],
        ],
        CLEAN,
        "1:2",
        SIZE,
      ],
    ],
    intents: [],
  },
  {
    files: [
      [
        [
          [0, 3],
          [10, 11],
        ],
        CLEAN,
        "1:2",
        SIZE,
      ],
    ],
    intents: [["1:3", 5]],
  },
];

describe("a journal", () => {
  const { bytes, ends } = written();

  test("is read back whole, in pieces of any size", () => {
    for (const step of [1, 7, 64, 1_000, bytes.length]) {
      const contents = read(bytes, step);
      expect(contents.damage).toBeUndefined();
      expect(contents.validBytes).toBe(bytes.length);
      expect(summary(contents)).toEqual(STATES[5]);
    }
    const forest = new HashForest(hash);
    for (const index of [0, 1, 2, 10]) forest.addChunk(index, chunkLength(SIZE, index), HASHES[index]);
    const [file] = read(bytes).files.values();
    expect(file.forest.subtrees()).toEqual(forest.subtrees());
  });

  test("cut off at every byte: the records before the cut, no more and no less", () => {
    for (let size = 0; size <= bytes.length; size++) {
      const contents = read(bytes.subarray(0, size));
      const records = ends.filter((end) => end <= size).length;
      expect(summary(contents), `cut at ${size}`).toEqual(STATES[Math.max(0, records - 1)]);
      expect(contents.validBytes).toBe(records === 0 ? 0 : ends[records - 1]);
      expect(contents.damage === undefined).toBe(size === 0 || ends.includes(size));
    }
  });

  test("with any one bit flipped: the records before it", () => {
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const altered = bytes.slice();
      altered[bit >> 3] ^= 1 << (bit & 7);
      const contents = read(altered);
      const records = ends.filter((end) => end <= bit >> 3).length;
      expect(contents.damage, `bit ${bit}`).toBeDefined();
      expect(summary(contents), `bit ${bit}`).toEqual(STATES[Math.max(0, records - 1)]);
    }
  });

  test("random damage never does more than end it", () => {
    for (let run = 0; run < 2_000; run++) {
      const altered = bytes.slice();
      for (let n = random.integer(1, 20); n > 0; n--)
        altered[random.integer(0, bytes.length - 1)] = random.integer(0, 255);
      const contents = read(altered, random.integer(1, bytes.length));
      expect(STATES).toContainEqual(summary(contents));
    }
  });

  test("of another job or another version is not used", () => {
    expect(read(bytes, bytes.length, "other")).toMatchObject({ damage: "of another job", validBytes: 0 });
    const other = bytes.slice();
    other[7] = 2;
    expect(read(other)).toMatchObject({ damage: "written by another version (2)", validBytes: 0 });
    expect(read(new TextEncoder().encode("something else entirely"))).toMatchObject({
      damage: "not a journal",
      validBytes: 0,
    });
  });

  test("is continued after damage where it was still valid", () => {
    const contents = read(bytes.subarray(0, ends[2] + 5));
    const encoder = new JournalEncoder(hash, contents, "job");
    encoder.addChunks(FILE_A.key, [{ index: 5, contentHash: HASHES[5] }]);
    encoder.addForget(FILE_B.key);
    const joined = Buffer.concat([bytes.subarray(0, contents.validBytes), encoder.take()]);
    expect(summary(read(joined))).toEqual({
      files: [
        [
          [
            [0, 3],
            [5, 6],
          ],
          undefined,
          "1:2",
          SIZE,
        ],
      ],
      intents: [],
    });
  });

  test("forgets a file whose source changed, and begins it again", () => {
    const encoder = new JournalEncoder(hash, read(bytes), "job");
    encoder.addForget(FILE_A.key);
    encoder.addFile({ ...FILE_A, sizeBytes: 3 }, "9:9");
    encoder.addChunks(FILE_A.key, [{ index: 0, contentHash: HASHES[0] }]);
    const contents = read(Buffer.concat([bytes, encoder.take()]));
    expect(summary(contents)).toEqual({ files: [[[[0, 1]], undefined, "9:9", 3]], intents: [["1:3", 5]] });
  });
});
