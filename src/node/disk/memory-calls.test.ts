import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { nativeBinding } from "../sockets/native-loader.ts";
import { MemoryCalls } from "./memory-calls.ts";

const FILE = 7;
const bytes = new Uint8Array(100);

/** An addon that answers as told, and how often it was asked. */
class Told {
  answer = 100;
  asked = 0;
  readonly readNow = (): number => (this.asked++, this.answer);
  readonly writeNow = this.readNow;
}

/** Reads in a row that go to threads without a try. */
function threadReads(calls: MemoryCalls, told: Told): number {
  const before = told.asked;
  let reads = 0;
  for (;;) {
    calls.read(FILE, bytes, 0);
    if (told.asked > before) return reads;
    reads++;
  }
}

describe("which chunks are read and written at once", () => {
  test("what is in memory is, and the end of a file is an answer", () => {
    const told = new Told();
    const calls = new MemoryCalls(told);
    expect([calls.read(FILE, bytes, 0), calls.write(FILE, bytes, 0)]).toEqual([100, 100]);
    told.answer = 0;
    expect(calls.read(FILE, bytes, 0)).toBe(0);
  });

  test("a file that has to be fetched from a disk is asked for less and less, until it is there", () => {
    const told = new Told();
    const calls = new MemoryCalls(told);
    told.answer = -1;
    expect(calls.read(FILE, bytes, 0)).toBeUndefined();
    expect([threadReads(calls, told), threadReads(calls, told)]).toEqual([16, 32]);
    for (let i = 0; i < 10; i++) threadReads(calls, told);
    expect(threadReads(calls, told)).toBe(4_096);
    told.answer = 100;
    expect(threadReads(calls, told)).toBe(4_096);
    expect(calls.read(FILE, bytes, 0)).toBe(100);
    told.answer = -1;
    expect(calls.read(FILE, bytes, 0)).toBeUndefined();
    expect(threadReads(calls, told)).toBe(16);
  });

  test("a file on a disk is not asked about again before it is closed", () => {
    const told = new Told();
    const calls = new MemoryCalls(told);
    told.answer = -1;
    expect([calls.write(FILE, bytes, 0), calls.write(FILE, bytes, 0), told.asked]).toEqual([
      undefined,
      undefined,
      1,
    ]);
    calls.read(FILE, bytes, 0);
    calls.forget(FILE);
    told.answer = 100;
    expect([calls.write(FILE, bytes, 0), calls.read(FILE, bytes, 0)]).toEqual([100, 100]);
  });

  test("an addon of an earlier build, or none, has none of it", () => {
    const calls = new MemoryCalls({});
    expect([calls.read(FILE, bytes, 0), calls.write(FILE, bytes, 0)]).toEqual([undefined, undefined]);
  });
});

const { readNow, writeNow } = nativeBinding() ?? {};

// Where no compiler built the addon, threads do everything.
if (readNow !== undefined && writeNow !== undefined) {
  describe("the system's answers", () => {
    let directory: string;
    beforeEach(() => (directory = mkdtempSync(join(tmpdir(), "godwit-memory-"))));
    afterEach(() => rmSync(directory, { recursive: true, force: true }));

    test("a file just written is read at once, up to its end, where the file system can say so", () => {
      const name = join(directory, "file");
      writeFileSync(name, "hello world");
      const file = openSync(name, "r");
      const target = new Uint8Array(8);
      const read = readNow(file, target, 6);
      // A file system may not know; most do.
      if (read !== -1) {
        expect([read, new TextDecoder().decode(target)]).toEqual([5, "world\0\0\0"]);
        expect(readNow(file, target, 11)).toBe(0);
      }
      closeSync(file);
    });

    test("one call moves 1 MiB at most", () => {
      const name = join(directory, "large");
      writeFileSync(name, new Uint8Array(1_048_577));
      const file = openSync(name, "r");
      expect([1_048_576, -1]).toContain(readNow(file, new Uint8Array(1_048_577), 0));
      closeSync(file);
    });

    test("what fails is told by the thread that tries next", () => {
      const name = join(directory, "file");
      writeFileSync(name, "x");
      const writable = openSync(name, "a");
      expect(readNow(writable, new Uint8Array(1), 0)).toBe(-1);
      closeSync(writable);
      expect([readNow(1_000_000, new Uint8Array(1), 0), writeNow(1_000_000, new Uint8Array(1), 0)]).toEqual([
        -1, -1,
      ]);
    });

    // Where one of them is missing there is nothing to try.
    for (const place of [tmpdir(), "/dev/shm"].filter((path) => existsSync(path)))
      test(`a file is written at once where the file system lives in memory: ${place}`, () => {
        // TMPFS_MAGIC, RAMFS_MAGIC
        const isMemory = [0x01021994, 0x858458f6].includes(statfsSync(place).type);
        const inside = mkdtempSync(join(place, "godwit-memory-"));
        try {
          const name = join(inside, "file");
          const file = openSync(name, "w+");
          const written = [
            writeNow(file, new TextEncoder().encode("world"), 6),
            writeNow(file, new TextEncoder().encode("hello "), 0),
          ];
          const target = new Uint8Array(20);
          const read = readNow(file, target, 2);
          closeSync(file);
          expect(written).toEqual(isMemory ? [5, 6] : [-1, -1]);
          expect(readFileSync(name, "utf8")).toBe(isMemory ? "hello world" : "");
          if (isMemory)
            expect([read, new TextDecoder().decode(target.subarray(0, 9))]).toEqual([9, "llo world"]);
        } finally {
          rmSync(inside, { recursive: true });
        }
      });
  });
}
