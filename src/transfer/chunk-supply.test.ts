import { expect, test } from "vitest";
import { CHUNK_BYTES } from "../base/limits.ts";
import type { EntryFacts } from "../files/disk.ts";
import { ask } from "../files/disk.ts";
import { DiskRunner } from "../files/disk-runner.ts";
import { nativeBlake3, wasmBlake3 } from "../node/hash.ts";
import { SimDisk } from "../sim/disk.ts";
import { ChunkSupply, type LoadedChunk, type SourceFile, type SupplyUser } from "./chunk-supply.ts";

const hash = nativeBlake3() ?? (await wasmBlake3());

/** A supply over one file of `chunks` chunks, on a disk that answers at once. */
class Bench {
  private timeUs = 1e15;
  readonly disk = new SimDisk(1, "supply", () => (this.timeUs += 1_000));
  readonly runner = new DiskRunner();
  readonly supply: ChunkSupply;
  readonly source: SourceFile;

  constructor(chunks: number, budgetChunks: number, lanes: number) {
    this.disk.plant(
      "/file",
      new Uint8Array(chunks * CHUNK_BYTES).map((_, i) => i >> 18),
    );
    this.supply = new ChunkSupply(this.runner, hash, budgetChunks * CHUNK_BYTES, lanes);
    let root = 0;
    let facts: EntryFacts | undefined;
    this.runner.start(ask({ kind: "open-root", location: "/", create: false }), (opened) => {
      if (opened.ok) root = opened.root;
    });
    this.settle();
    this.runner.start(ask({ kind: "lstat", root, path: ["file"] }), (found) => {
      if (found.ok) facts = found.facts;
    });
    this.settle();
    if (facts === undefined) throw new Error("no file");
    this.source = this.supply.addFile({ root, path: ["file"], name: "file", facts });
    for (let i = 0; i < lanes; i++) this.supply.addUser(this.source);
  }

  settle(): void {
    while (this.runner.hasRequests)
      for (const { id, operation } of this.runner.takeRequests())
        this.runner.handleResult(id, this.disk.perform(operation));
  }

  isSame(): boolean | undefined {
    let verdict: boolean | undefined;
    this.supply.checkUnchanged(this.source, (isSame) => {
      verdict = isSame;
    });
    this.settle();
    return verdict;
  }
}

class Lane implements SupplyUser {
  readonly chunks: LoadedChunk[] = [];
  failure = "";
  handleChunk(chunk: LoadedChunk): void {
    this.chunks.push(chunk);
  }
  handleSourceEnded(): void {}
  handleSourceFailed(_source: SourceFile, code: string): void {
    this.failure = code;
  }
}

test("two lanes share one read, before and after the first let go", () => {
  const bench = new Bench(2, 4, 2);
  const [a, b] = [new Lane(), new Lane()];
  bench.supply.request(bench.source, 0, a);
  bench.settle();
  bench.supply.release(a.chunks[0]);
  bench.supply.request(bench.source, 0, b);
  expect(b.chunks[0]).toBe(a.chunks[0]);
  expect([bench.supply.readBytes, bench.supply.rereadBytes]).toEqual([CHUNK_BYTES, 0]);
});

test("when room is needed, what every lane has had goes first", () => {
  const bench = new Bench(4, 3, 2);
  const [a, b] = [new Lane(), new Lane()];
  // Chunk 0 is wanted by the second lane still; chunk 1 both have had.
  for (const index of [0, 1]) bench.supply.request(bench.source, index, a);
  bench.settle();
  bench.supply.request(bench.source, 1, b);
  for (const chunk of [...a.chunks, ...b.chunks]) bench.supply.release(chunk);
  for (const index of [2, 3]) bench.supply.request(bench.source, index, a);
  bench.settle();
  expect(bench.supply.readBytes).toBe(4 * CHUNK_BYTES);
  bench.supply.request(bench.source, 0, b);
  expect(b.chunks.map(({ index }) => index)).toEqual([1, 0]);
  expect(bench.supply.rereadBytes).toBe(0);
});

test("a chunk that its only waiter lets go at once is given back once", () => {
  const bench = new Bench(1, 2, 1);
  bench.supply.request(bench.source, 0, {
    handleChunk: (chunk) => bench.supply.release(chunk),
    handleSourceEnded: () => undefined,
    handleSourceFailed: () => undefined,
  });
  bench.settle();
  expect(bench.supply.usedBytes).toBe(0);
});

test("a verdict does not cover what a later lane reads first", () => {
  const bench = new Bench(2, 4, 2);
  const lane = new Lane();
  // The first receiver has chunk 0 from before: only chunk 1 is read for it.
  bench.supply.request(bench.source, 1, lane);
  bench.settle();
  expect(bench.isSame()).toBe(true);
  bench.disk.scribble("/file", CHUNK_BYTES, new Uint8Array([99]));
  bench.supply.request(bench.source, 0, lane);
  bench.settle();
  expect(bench.isSame()).toBe(false);
});

test("a chunk that differs when it is read again fails the source", () => {
  const bench = new Bench(3, 1, 2);
  const lane = new Lane();
  bench.supply.request(bench.source, 0, lane);
  bench.settle();
  bench.supply.release(lane.chunks[0]);
  bench.supply.request(bench.source, 1, lane);
  bench.settle();
  bench.supply.release(lane.chunks[1]);
  bench.disk.scribble("/file", 0, new Uint8Array([99]));
  bench.supply.request(bench.source, 0, lane);
  bench.settle();
  expect(lane.failure).toBe("SOURCE_CHANGED");
});

test("what comes from memory is read less far ahead, for one lane", () => {
  const aheadOf = (lanes: number, wasInMemory: boolean): number => {
    const bench = new Bench(2, 256, lanes);
    bench.supply.request(bench.source, 0, new Lane());
    while (bench.runner.hasRequests)
      for (const { id, operation } of bench.runner.takeRequests()) {
        const result = bench.disk.perform(operation);
        bench.runner.handleResult(
          id,
          result.ok && operation.kind === "read" ? { ...result, wasInMemory } : result,
        );
      }
    return bench.supply.readAheadBytes;
  };
  // 64 MiB of budget: a quarter of it is more than either; of two lanes each may use a quarter, and 8 MiB at most.
  expect([aheadOf(1, true), aheadOf(1, false), aheadOf(2, true)]).toEqual([2_097_152, 8_388_608, 8_388_608]);
});
