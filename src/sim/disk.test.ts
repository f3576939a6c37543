import { describe, expect, test } from "vitest";
import type { DiskOperation, DiskResult } from "../files/disk.ts";
import { HEALTHY_DISK } from "./disk-faults.ts";
import { SimDisk } from "./disk.ts";

type Answer = DiskResult & Record<string, unknown>;

/** A disk with one open root, and shorthand for what publishing a file does. */
class Bench {
  readonly disk: SimDisk;
  readonly root: number;

  constructor(seed: number) {
    this.disk = new SimDisk(seed, "bench", () => 5_000_000);
    this.root = this.ask({ kind: "open-root", location: "/in", create: true })["root"] as number;
  }

  ask(operation: DiskOperation): Answer {
    return this.disk.perform(operation) as Answer;
  }

  create(name: string): number {
    return this.ask({ kind: "create-staging", root: this.root, path: [name] })["file"] as number;
  }

  write(file: number, offset: number, bytes: Uint8Array): Answer {
    return this.ask({ kind: "write", file, offset, bytes });
  }

  syncDirectory(): Answer {
    return this.ask({ kind: "sync-directory", root: this.root, path: [] });
  }
}

const filled = (length: number, value: number): Uint8Array => new Uint8Array(length).fill(value);

/** What is left of `name` after a power cut, over many seeds. */
function leftovers(prepare: (bench: Bench) => void, name: string, seeds = 200): (Uint8Array | undefined)[] {
  return Array.from({ length: seeds }, (_, seed) => {
    const bench = new Bench(seed);
    prepare(bench);
    bench.disk.cutPower();
    return bench.disk.tree().get(`/in/${name}`);
  });
}

describe("power cut", () => {
  test("a synced file in a synced directory is there, whole, every time", () => {
    const left = leftovers((bench) => {
      const file = bench.create("x");
      bench.write(file, 0, filled(10_000, 7));
      bench.ask({ kind: "sync-file", file });
      bench.syncDirectory();
    }, "x");
    for (const bytes of left) expect(bytes?.join()).toBe(filled(10_000, 7).join());
  });

  test("without the directory's sync the name is sometimes gone", () => {
    const left = leftovers((bench) => {
      const file = bench.create("x");
      bench.write(file, 0, filled(10_000, 7));
      bench.ask({ kind: "sync-file", file });
    }, "x");
    const gone = left.filter((bytes) => bytes === undefined).length;
    expect(gone).toBeGreaterThan(50);
    expect(gone).toBeLessThan(150);
    for (const bytes of left) if (bytes !== undefined) expect(bytes.join()).toBe(filled(10_000, 7).join());
  });

  test("without the file's sync any subset of its pages is left, some of them torn", () => {
    const left = leftovers((bench) => {
      const file = bench.create("x");
      bench.write(file, 0, filled(12_288, 7));
      bench.syncDirectory();
    }, "x");
    const shapes = new Set(left.map((bytes) => bytes?.length));
    expect(shapes.has(0)).toBe(true);
    expect(shapes.has(12_288)).toBe(true);
    let torn = 0;
    let holes = 0;
    for (const bytes of left) {
      if (bytes === undefined) throw new Error("the name was synced");
      for (let at = 0; at + 4_096 <= bytes.length; at += 4_096) {
        const ones = bytes.subarray(at, at + 4_096).filter((byte) => byte === 7).length;
        // Sectors of 512 bytes are whole.
        expect(ones % 512).toBe(0);
        if (ones === 0) holes += 1;
        else if (ones < 4_096) torn += 1;
      }
    }
    expect(torn).toBeGreaterThan(10);
    expect(holes).toBeGreaterThan(10);
  });

  test("of two unsynced versions of a page either may be left, or the synced one", () => {
    const left = leftovers((bench) => {
      const file = bench.create("x");
      bench.write(file, 0, filled(512, 1));
      bench.ask({ kind: "sync-file", file });
      bench.syncDirectory();
      bench.write(file, 0, filled(512, 2));
      bench.write(file, 0, filled(512, 3));
    }, "x");
    expect(new Set(left.map((bytes) => bytes?.[0]))).toEqual(new Set([1, 2, 3]));
  });

  test("a failed sync makes nothing durable, and the next one does not repair it", () => {
    const bench = new Bench(1);
    const file = bench.create("x");
    bench.syncDirectory();
    bench.write(file, 0, filled(4_096, 9));
    bench.disk.faults = { ...HEALTHY_DISK, calls: [{ kind: "sync-data", atCall: 1, errno: "EIO" }] };
    expect(bench.ask({ kind: "sync-data", file })).toEqual({ ok: false, errno: "EIO" });
    expect(bench.ask({ kind: "sync-data", file })).toEqual({ ok: true });
    bench.disk.cutPower();
    expect(bench.disk.tree().get("/in/x")).toEqual(filled(4_096, 0));
  });

  test("a rename is there or not, never half; synced, it is there", () => {
    const prepare = (bench: Bench): void => {
      const old = bench.create("x");
      bench.write(old, 0, filled(100, 1));
      bench.ask({ kind: "sync-file", file: old });
      const file = bench.create("x.part");
      bench.write(file, 0, filled(100, 2));
      bench.ask({ kind: "sync-file", file });
      bench.syncDirectory();
      bench.ask({ kind: "rename", root: bench.root, from: ["x.part"], to: ["x"] });
    };
    const values = leftovers(prepare, "x").map((bytes) => bytes?.[0]);
    expect(new Set(values)).toEqual(new Set([1, 2]));
    const synced = leftovers((bench) => {
      prepare(bench);
      bench.syncDirectory();
    }, "x");
    expect(new Set(synced.map((bytes) => bytes?.[0]))).toEqual(new Set([2]));
  });

  test("what stands in a directory that was never synced into its parent is lost with it", () => {
    const left = leftovers((bench) => {
      bench.ask({ kind: "make-directory", root: bench.root, path: ["d"], mode: 0o755 });
      const file = bench.ask({ kind: "create-staging", root: bench.root, path: ["d", "x"] })[
        "file"
      ] as number;
      bench.ask({ kind: "sync-file", file });
      bench.ask({ kind: "sync-directory", root: bench.root, path: ["d"] });
    }, "d/x");
    expect(left.some((bytes) => bytes === undefined)).toBe(true);
    expect(left.some((bytes) => bytes !== undefined)).toBe(true);
  });

  test("the durable tree is what every power cut leaves", () => {
    const bench = new Bench(3);
    bench.disk.plant("/src/a", filled(5_000, 4));
    bench.create("x");
    expect([...bench.disk.durableTree().keys()]).toEqual(["/src/a"]);
    bench.syncDirectory();
    expect([...bench.disk.durableTree().keys()].toSorted()).toEqual(["/in/x", "/src/a"]);
    expect(bench.disk.durableTree().get("/src/a")).toEqual(filled(5_000, 4));
  });

  test("a killed process keeps the cache and loses its handles and locks", () => {
    const bench = new Bench(1);
    const file = bench.create("x");
    bench.write(file, 0, filled(10, 1));
    expect(bench.ask({ kind: "lock", root: bench.root, path: ["l"] })).toEqual({ ok: true });
    expect(bench.ask({ kind: "lock", root: bench.root, path: ["l"] })).toEqual({ ok: false, errno: "EBUSY" });
    bench.disk.killProcess();
    expect(bench.disk.openHandles).toBe(0);
    expect(bench.disk.tree().get("/in/x")).toEqual(filled(10, 1));
    const root = bench.ask({ kind: "open-root", location: "/in", create: false })["root"] as number;
    expect(bench.ask({ kind: "lock", root, path: ["l"] })).toEqual({ ok: true });
    expect(bench.ask({ kind: "unlock", root, path: ["l"] })).toEqual({ ok: true });
    expect(bench.disk.tree().has("/in/l")).toBe(false);
  });
});

describe("faults", () => {
  test("a full disk takes what fits, then says so", () => {
    const bench = new Bench(1);
    bench.disk.faults = { ...HEALTHY_DISK, capacityBytes: 3 * 4_096 };
    const file = bench.create("x");
    expect(bench.ask({ kind: "free-space", root: bench.root })).toEqual({ ok: true, freeBytes: 12_288 });
    expect(bench.write(file, 0, filled(10_000, 1))).toEqual({ ok: true, lengthBytes: 10_000 });
    expect(bench.write(file, 10_000, filled(10_000, 1))).toEqual({ ok: true, lengthBytes: 2_288 });
    expect(bench.write(file, 12_288, filled(1, 1))).toEqual({ ok: false, errno: "ENOSPC" });
    expect(bench.write(file, 0, filled(10, 2))).toEqual({ ok: true, lengthBytes: 10 });
    bench.disk.faults = { ...HEALTHY_DISK, capacityBytes: 5 * 4_096 };
    expect(bench.write(file, 12_288, filled(4_096, 1))).toEqual({ ok: true, lengthBytes: 4_096 });
  });

  test("a file-size limit, no hard links, a failing call", () => {
    const bench = new Bench(1);
    bench.disk.faults = {
      ...HEALTHY_DISK,
      fileSizeMaxBytes: 100,
      hasNoLinks: true,
      calls: [{ kind: "write", atCall: 3, errno: "EIO", times: 2 }],
    };
    const file = bench.create("x");
    expect(bench.write(file, 50, filled(100, 1))).toEqual({ ok: true, lengthBytes: 50 });
    expect(bench.write(file, 100, filled(1, 1))).toEqual({ ok: false, errno: "EFBIG" });
    expect(bench.write(file, 0, filled(1, 1))).toEqual({ ok: false, errno: "EIO" });
    expect(bench.write(file, 0, filled(1, 1))).toEqual({ ok: false, errno: "EIO" });
    expect(bench.write(file, 0, filled(1, 1))).toEqual({ ok: true, lengthBytes: 1 });
    expect(bench.ask({ kind: "link", root: bench.root, from: ["x"], to: ["y"] })).toEqual({
      ok: false,
      errno: "EPERM",
    });
  });

  test("short writes and reads tell how much they did", () => {
    const bench = new Bench(1);
    bench.disk.faults = { ...HEALTHY_DISK, shortWriteProbability: 1, shortReadProbability: 1 };
    const file = bench.create("x");
    const written = bench.write(file, 0, filled(1_000, 6))["lengthBytes"] as number;
    expect(written).toBeGreaterThan(0);
    expect(written).toBeLessThan(1_000);
    expect(bench.disk.tree().get("/in/x")).toEqual(filled(written, 6));
    const target = new Uint8Array(written);
    const read = bench.ask({ kind: "read", file, offset: 0, target })["lengthBytes"] as number;
    expect(read).toBeLessThan(written);
    expect(target.subarray(0, read)).toEqual(filled(read, 6));
    expect(target.subarray(read).every((byte) => byte === 0)).toBe(true);
  });

  test("a source that is a FIFO or a link does not open", () => {
    const bench = new Bench(1);
    bench.disk.plantSpecial("/in/fifo");
    bench.disk.plantSpecial("/in/link", "fifo");
    const open = (name: string): Answer => bench.ask({ kind: "open-source", root: bench.root, path: [name] });
    expect(open("fifo")).toEqual({ ok: false, errno: "ENOTREG" });
    expect(open("link")).toEqual({ ok: false, errno: "ELOOP" });
  });

  test("a source changed by another program shows it", () => {
    let nowUs = 1_000_000;
    const disk = new SimDisk(1, "x", () => nowUs);
    disk.plant("/a", filled(10, 1));
    const root = (disk.perform({ kind: "open-root", location: "/", create: false }) as Answer)[
      "root"
    ] as number;
    const stat = (): Answer => disk.perform({ kind: "lstat", root, path: ["a"] }) as Answer;
    const before = stat()["facts"];
    nowUs = 2_000_000;
    disk.scribble("/a", 3, filled(2, 9));
    expect(stat()["facts"]).not.toEqual(before);
    expect([...(disk.tree().get("/a") ?? [])]).toEqual([1, 1, 1, 9, 9, 1, 1, 1, 1, 1]);
  });
});
