import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { DiskResult } from "../../files/disk.ts";
import { ChunkRuns } from "./chunk-runs.ts";

const PART = 256 * 1024;

let directory: string;
let name: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "godwit-runs-"));
  name = join(directory, "file");
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** Runs operations that were given together; says in which order, with what result and by which call each ended. */
class Together {
  readonly ended: { readonly at: number; readonly result: DiskResult; readonly call: number }[] = [];
  private calls = 0;
  private isSameCall = false;
  private readonly runs = new ChunkRuns();
  private readonly all: Promise<void>[] = [];

  add(operation: Parameters<ChunkRuns["add"]>[0]): void {
    this.all.push(
      new Promise((resolve) => {
        this.runs.add(operation, (result) => {
          // What one call ends is reported within one turn.
          if (!this.isSameCall) {
            this.isSameCall = true;
            this.calls++;
            queueMicrotask(() => (this.isSameCall = false));
          }
          this.ended.push({ at: operation.offset / PART, result, call: this.calls });
          resolve();
        });
      }),
    );
  }

  async end(): Promise<void> {
    this.runs.start();
    await Promise.all(this.all);
  }

  /** The parts that each call ended, by their places in the file. */
  get calledTogether(): number[][] {
    return [1, 2, 3, 4, 5, 6, 7, 8, 9]
      .map((call) => this.ended.filter((one) => one.call === call).map(({ at }) => at))
      .filter((parts) => parts.length > 0);
  }

  result(at: number): unknown {
    const { result } = this.ended.find((one) => one.at === at) ?? { result: undefined };
    return result?.ok === true && "lengthBytes" in result ? result.lengthBytes : result;
  }
}

const filled = (value: number, lengthBytes = PART): Uint8Array => new Uint8Array(lengthBytes).fill(value);

describe("data moved by threads", () => {
  test("neighbours that wait together are written by one call of 1 MiB at most, in any order given", async () => {
    const file = openSync(name, "w");
    const together = new Together();
    // 7 continues nothing; 0 to 3 are a whole call; 4 and 5 are the rest.
    for (const at of [7, 0, 2, 1, 3, 5, 4])
      together.add({ kind: "write", file, offset: at * PART, bytes: filled(at + 1) });
    await together.end();
    closeSync(file);
    expect(together.calledTogether.toSorted((a, b) => a[0] - b[0])).toEqual([[0, 1, 2, 3], [4], [5], [7]]);
    const written = readFileSync(name);
    expect(written.length).toBe(8 * PART);
    for (let at = 0; at < 8; at++)
      expect(written.subarray(at * PART, (at + 1) * PART).equals(filled(at === 6 ? 0 : at + 1))).toBe(true);
  });

  test("neighbours are read by one call, each into its own memory", async () => {
    writeFileSync(name, Buffer.concat([1, 2, 3].map((value) => filled(value))));
    const file = openSync(name, "r");
    const targets = [filled(9), filled(9), filled(9)];
    const together = new Together();
    targets.forEach((target, at) => together.add({ kind: "read", file, offset: at * PART, target }));
    await together.end();
    closeSync(file);
    expect(together.calledTogether).toEqual([[0, 1, 2]]);
    expect(targets.map((target, i) => target.every((value) => value === i + 1))).toEqual([true, true, true]);
  });

  test("what got nothing of a call is asked again: the end of a file is told to each as it would be alone", async () => {
    writeFileSync(name, filled(1, PART + 5));
    const file = openSync(name, "r");
    const together = new Together();
    for (let at = 0; at < 4; at++)
      together.add({ kind: "read", file, offset: at * PART, target: new Uint8Array(PART) });
    await together.end();
    closeSync(file);
    expect([0, 1, 2, 3].map((at) => together.result(at))).toEqual([PART, 5, 0, 0]);
    expect(together.calledTogether).toEqual([[0, 1], [2], [3]]);
  });

  test("a failure is told to each", async () => {
    const file = openSync("/dev/full", "w");
    const together = new Together();
    for (let at = 0; at < 3; at++) together.add({ kind: "write", file, offset: at * PART, bytes: filled(1) });
    await together.end();
    closeSync(file);
    const full = { ok: false, errno: "ENOSPC" };
    expect([0, 1, 2].map((at) => together.result(at))).toEqual([full, full, full]);
    expect(together.calledTogether).toEqual([[0], [1], [2]]);
  });

  test("reads and writes, and other files, are no neighbours", async () => {
    writeFileSync(name, filled(1, 2 * PART));
    const file = openSync(name, "r+");
    const other = openSync(join(directory, "other"), "w");
    const together = new Together();
    together.add({ kind: "read", file, offset: 0, target: new Uint8Array(PART) });
    together.add({ kind: "write", file, offset: PART, bytes: filled(2) });
    together.add({ kind: "write", file: other, offset: 2 * PART, bytes: filled(3) });
    await together.end();
    closeSync(file);
    closeSync(other);
    expect(together.ended.map(({ result }) => result.ok)).toEqual([true, true, true]);
    expect(readFileSync(name).subarray(PART).equals(filled(2))).toBe(true);
    expect(
      readFileSync(join(directory, "other"))
        .subarray(2 * PART)
        .equals(filled(3)),
    ).toBe(true);
  });
});
