import { execFileSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { DiskOperation, DiskResult } from "../../files/disk.ts";
import { NodeDisk } from "./node-disk.ts";

let directory: string;
let disk: NodeDisk;
let waiting: Map<number, (result: DiskResult) => void>;
let nextId: number;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "godwit-disk-"));
  waiting = new Map();
  nextId = 1;
  disk = new NodeDisk((id, result) => {
    waiting.get(id)?.(result);
    waiting.delete(id);
  });
});

afterEach(() => {
  disk.close();
  rmSync(directory, { recursive: true, force: true });
});

function run(operation: DiskOperation): Promise<DiskResult & Record<string, unknown>> {
  const id = nextId++;
  return new Promise((resolve) => {
    waiting.set(id, resolve as (result: DiskResult) => void);
    disk.perform({ id, operation });
  });
}

async function openRoot(): Promise<number> {
  const result = await run({ kind: "open-root", location: directory, create: false });
  return result["root"] as number;
}

describe("files", () => {
  test("a staging file is private, written at offsets, linked to its name once, and never over another", async () => {
    const root = await openRoot();
    const { file } = (await run({ kind: "create-staging", root, path: ["x.part"] })) as unknown as {
      file: number;
    };
    expect(statSync(join(directory, "x.part")).mode & 0o777).toBe(0o600);
    const bytes = new TextEncoder().encode("world");
    expect(await run({ kind: "write", file, offset: 6, bytes })).toEqual({ ok: true, lengthBytes: 5 });
    await run({ kind: "write", file, offset: 0, bytes: new TextEncoder().encode("hello ") });
    expect(await run({ kind: "sync-file", file })).toEqual({ ok: true });
    await run({ kind: "set-file-facts", file, mode: 0o640, modifiedAtUs: 1_000_000_500_000 });
    expect(await run({ kind: "link", root, from: ["x.part"], to: ["x"] })).toEqual({ ok: true });
    expect(await run({ kind: "link", root, from: ["x.part"], to: ["x"] })).toEqual({
      ok: false,
      errno: "EEXIST",
    });
    expect(await run({ kind: "unlink", root, path: ["x.part"] })).toEqual({ ok: true });
    expect(await run({ kind: "sync-directory", root, path: [] })).toEqual({ ok: true });
    expect(await run({ kind: "close-file", file })).toEqual({ ok: true });
    expect(readFileSync(join(directory, "x"), "utf8")).toBe("hello world");
    const status = statSync(join(directory, "x"));
    expect([status.mode & 0o777, status.mtimeMs]).toEqual([0o640, 1_000_000_500]);
  });

  test("only regular files open, and a FIFO does not block", async () => {
    execFileSync("mkfifo", [join(directory, "fifo")]);
    symlinkSync("/etc/hostname", join(directory, "link"));
    mkdirSync(join(directory, "sub"));
    const root = await openRoot();
    const open = (name: string): Promise<DiskResult> => run({ kind: "open-source", root, path: [name] });
    expect(await open("fifo")).toEqual({ ok: false, errno: "ENOTREG" });
    expect(await open("link")).toEqual({ ok: false, errno: "ELOOP" });
    expect(await open("sub")).toEqual({ ok: false, errno: "ENOTREG" });
    expect(await open("none")).toEqual({ ok: false, errno: "ENOENT" });
  });
});

describe("what is done at once", () => {
  test("is reported when the caller has returned, or when it asks for it", async () => {
    const root = await openRoot();
    const seen: string[] = [];
    const perform = (name: string): void => {
      const id = nextId++;
      waiting.set(id, (result) => seen.push(`${name} ${result.ok ? "ok" : result.errno}`));
      disk.perform({ id, operation: { kind: "lstat", root, path: [name] } });
    };
    writeFileSync(join(directory, "here"), "");
    perform("here");
    perform("none");
    expect(seen).toEqual([]);
    disk.report();
    expect(seen).toEqual(["here ok", "none ENOENT"]);
    perform("here");
    expect(seen.length).toBe(2);
    await Promise.resolve();
    expect(seen.length).toBe(3);
  });

  test("a directory that was swapped for another is seen by the next operation", async () => {
    const root = await openRoot();
    const exists = async (): Promise<boolean> => (await run({ kind: "lstat", root, path: ["d", "x"] })).ok;
    mkdirSync(join(directory, "d"));
    writeFileSync(join(directory, "d/x"), "");
    expect(await exists()).toBe(true);
    rmSync(join(directory, "d"), { recursive: true });
    mkdirSync(join(directory, "d"));
    expect(await exists()).toBe(false);
  });

  test("no directory stays open behind it", async () => {
    const root = await openRoot();
    const open = (): number => readdirSync("/proc/self/fd").length;
    mkdirSync(join(directory, "a/b/c"), { recursive: true });
    await run({ kind: "lstat", root, path: ["a", "x"] });
    const before = open();
    for (const path of [
      ["a", "x"],
      ["a", "b", "x"],
      ["a", "b", "c", "x"],
      ["none", "x"],
    ]) {
      await run({ kind: "lstat", root, path });
      await run({ kind: "unlink", root, path });
      await run({ kind: "link", root, from: path, to: ["a", "y"] });
    }
    expect(open()).toBe(before);
  });

  test("names with others beside them go at once, last ones with their contents all the same", async () => {
    const root = await openRoot();
    writeFileSync(join(directory, "x"), "text");
    expect(await run({ kind: "link", root, from: ["x"], to: ["y"] })).toEqual({ ok: true });
    expect(await run({ kind: "unlink", root, path: ["x"] })).toEqual({ ok: true });
    expect(await run({ kind: "unlink", root, path: ["x"] })).toEqual({ ok: false, errno: "ENOENT" });
    expect(readFileSync(join(directory, "y"), "utf8")).toBe("text");
    expect(await run({ kind: "unlink", root, path: ["y"] })).toEqual({ ok: true });
    expect(readdirSync(directory)).toEqual([]);
  });

  test("a listing says of its entries what lstat would, when it is asked to", async () => {
    const root = await openRoot();
    mkdirSync(join(directory, "d"));
    writeFileSync(join(directory, "d/f"), "four");
    symlinkSync("/etc", join(directory, "d/l"));
    const { directory: handle } = (await run({
      kind: "open-directory",
      root,
      path: ["d"],
    })) as unknown as { directory: number };
    const page = await run({ kind: "read-directory", directory: handle, maxEntries: 10, withFacts: true });
    const entries = page["entries"] as { name: string; facts: unknown }[];
    expect(entries.map(({ name }) => name).sort()).toEqual(["f", "l"]);
    for (const { name, facts } of entries) {
      const looked = await run({ kind: "lstat", root, path: ["d", name] });
      expect(facts).toEqual(looked["facts"]);
      expect(facts).toMatchObject({ kind: name === "f" ? "file" : "symlink" });
    }
    await run({ kind: "close-directory", directory: handle });
  });
});

describe("confinement", () => {
  test("no operation follows a link in place of a parent directory", async () => {
    const outside = mkdtempSync(join(tmpdir(), "godwit-outside-"));
    symlinkSync(outside, join(directory, "way-out"));
    const root = await openRoot();
    const operations: DiskOperation[] = [
      { kind: "create-staging", root, path: ["way-out", "x"] },
      { kind: "make-directory", root, path: ["way-out", "x"], mode: 0o700 },
      { kind: "make-symlink", root, path: ["way-out", "x"], target: "y" },
      { kind: "lock", root, path: ["way-out", "x"] },
      { kind: "open-directory", root, path: ["way-out"] },
      { kind: "sync-directory", root, path: ["way-out"] },
      { kind: "set-directory-facts", root, path: ["way-out"], mode: 0o777, modifiedAtUs: undefined },
    ];
    for (const operation of operations) {
      const result = await run(operation);
      expect([operation.kind, result.ok]).toEqual([operation.kind, false]);
    }
    expect(readdirSync(outside)).toEqual([]);
    rmSync(outside, { recursive: true });
  });

  test("a parent that flips between directory and link never lets a file out", async () => {
    const outside = mkdtempSync(join(tmpdir(), "godwit-outside-"));
    const root = await openRoot();
    mkdirSync(join(directory, "real"));
    const flip = join(directory, "flip");
    const results = { made: 0, refused: 0 };
    for (let i = 0; i < 200; i++) {
      rmSync(flip, { recursive: true, force: true });
      const pending = run({ kind: "create-staging", root, path: ["flip", `f${i}`] });
      if (i % 2 === 0) symlinkSync(outside, flip);
      else mkdirSync(flip);
      const again = run({ kind: "create-staging", root, path: ["flip", `g${i}`] });
      for (const result of await Promise.all([pending, again])) {
        if (result.ok) {
          results.made++;
          await run({ kind: "close-file", file: result["file"] as number });
        } else results.refused++;
      }
    }
    expect(readdirSync(outside)).toEqual([]);
    expect(results.refused).toBeGreaterThan(100);
    expect(results.made).toBeGreaterThan(50);
    rmSync(outside, { recursive: true });
  });
});

test("directories list names that are not UTF-8 as such", async () => {
  writeFileSync(Buffer.from(`${directory}/bad\xff`, "latin1"), "");
  writeFileSync(join(directory, "good"), "");
  const root = await openRoot();
  const { directory: handle } = (await run({ kind: "open-directory", root, path: [] })) as unknown as {
    directory: number;
  };
  const { entries } = (await run({
    kind: "read-directory",
    directory: handle,
    maxEntries: 10,
  })) as unknown as {
    entries: { name: string; isExactName: boolean }[];
  };
  expect(entries.map((entry) => entry.isExactName).filter(Boolean).length).toBe(1);
  expect(await run({ kind: "read-directory", directory: handle, maxEntries: 10 })).toEqual({
    ok: true,
    entries: [],
  });
  await run({ kind: "close-directory", directory: handle });
});

describe("locks", () => {
  test("one holder in this process; a lock of a process that is gone is taken over", async () => {
    const root = await openRoot();
    expect(await run({ kind: "lock", root, path: ["l"] })).toEqual({ ok: true });
    expect(await run({ kind: "lock", root, path: ["l"] })).toEqual({ ok: false, errno: "EBUSY" });
    expect(await run({ kind: "unlock", root, path: ["l"] })).toEqual({ ok: true });
    // Process 1 lives, but did not start at time 1: its id was reused.
    writeFileSync(join(directory, "l"), "1 1\n");
    expect(await run({ kind: "lock", root, path: ["l"] })).toEqual({ ok: true });
    await run({ kind: "unlock", root, path: ["l"] });
    const start = readFileSync("/proc/1/stat", "latin1").split(") ")[1].split(" ")[19];
    writeFileSync(join(directory, "l"), `1 ${start}\n`);
    expect(await run({ kind: "lock", root, path: ["l"] })).toEqual({ ok: false, errno: "EBUSY" });
  });
});

test("free space is told, and missing directories are made durable on opening", async () => {
  const opened = await run({ kind: "open-root", location: join(directory, "a/b"), create: true });
  expect(opened.ok).toBe(true);
  const space = await run({ kind: "free-space", root: opened["root"] as number });
  expect(space["freeBytes"]).toBeGreaterThan(0);
  expect(await run({ kind: "open-root", location: join(directory, "c"), create: false })).toEqual({
    ok: false,
    errno: "ENOENT",
  });
});
