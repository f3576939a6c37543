import { describe, expect, test } from "vitest";
import { fromHex, toHex } from "../base/bytes.ts";
import { wasmBlake3 } from "../node/hash.ts";
import { DurableEntries, EntryLeaves, receiptMessage } from "./receipt.ts";

const hash = await wasmBlake3();
const NONE = new Uint8Array(32);
// Worked out by hand with another implementation of BLAKE3: docs/spec/receipts.md §2.
const FILE_ROOT = fromHex("8849366efc473c1cb761b05d6bf06826f26b46eb05c9eff9f5eab5aa2d35464e");
const ROOT = "0daecdc861156ed3d3a3ceb83e27ea05de9314e25be49ed3ae2a737f8533ece1";

const d = { object: 0, kind: "directory", path: "d", target: "" } as const;
const file = { object: 1, kind: "file", path: "d/a", target: "" } as const;
const link = { object: 2, kind: "symlink", path: "l", target: "d/a" } as const;

describe("the root of a transfer", () => {
  test("RECEIPTS §2: the example, in whatever order entries become durable", () => {
    for (const order of [
      [d, file, link],
      [link, file, d],
    ]) {
      const entries = new DurableEntries(hash, true);
      for (const entry of order) entries.add(entry, entry.kind === "file" ? 3 : 0, FILE_ROOT);
      expect(entries.rootHex).toBe(ROOT);
      expect(entries.kept().map(({ path }) => path)).toEqual(["d", "d/a", "l"]);
    }
  });

  test("without entries there is none", () => {
    expect(new DurableEntries(hash).rootHex).toBe("");
  });

  test("path, size, contents, kind, target and number of entries all change it", () => {
    const root = (change: (entries: DurableEntries) => void): string => {
      const entries = new DurableEntries(hash);
      entries.add(d, 0, NONE);
      change(entries);
      return entries.rootHex;
    };
    const roots = [
      root(() => undefined),
      root((entries) => entries.add(file, 3, FILE_ROOT)),
      root((entries) => entries.add(file, 4, FILE_ROOT)),
      root((entries) => entries.add(file, 3, NONE)),
      root((entries) => entries.add({ ...file, path: "d/b" }, 3, FILE_ROOT)),
      root((entries) => entries.add({ ...file, kind: "directory" }, 0, NONE)),
      root((entries) => entries.add({ ...link, object: 1 }, 0, NONE)),
      root((entries) => entries.add({ ...link, object: 1, target: "d" }, 0, NONE)),
    ];
    expect(new Set(roots).size).toBe(roots.length);
  });

  test("entries that failed leave no trace; numbers far apart are fine", () => {
    const leaves = new EntryLeaves();
    leaves.add(900_000, NONE);
    leaves.add(7, fromHex("11".repeat(32)));
    leaves.add(7, fromHex("22".repeat(32)));
    expect(leaves.size).toBe(2);
    // By hand: 04, two entries, the leaf of entry 7, the leaf of entry 900 000.
    const all = fromHex(`040000000000000002${"11".repeat(32)}${"00".repeat(32)}`);
    expect(toHex(leaves.root(hash))).toBe(toHex(hash(all)));
  });
});

describe("what is signed", () => {
  test("RECEIPTS §3: the layout", () => {
    const facts = {
      root: fromHex("aa".repeat(32)),
      entries: 3,
      files: 1,
      bytes: 3,
      flushedAtMs: 0x18_0000_0001,
    };
    const id = fromHex("bb".repeat(16));
    const message = receiptMessage(facts, id, fromHex("cc".repeat(32)), fromHex("dd".repeat(32)));
    // "godwit receipt v1", then the fields one after the other.
    const label = "676f647769742072656365697074207631";
    const numbers = "0000000000000003000000000000000100000000000000030000001800000001";
    expect(toHex(message)).toBe(
      label + "aa".repeat(32) + numbers + "bb".repeat(16) + "cc".repeat(32) + "dd".repeat(32),
    );
  });
});
