import { describe, expect, test } from "vitest";
import { EntryList } from "./entry-list.ts";
import type { EntryMessage } from "./entry-message.ts";

function entry(object: number, path = "/"): EntryMessage {
  return {
    type: "entry",
    object,
    kind: "file",
    path,
    sizeBytes: 0,
    mode: 0o600,
    modifiedAtUs: undefined,
    token: new Uint8Array(16),
    target: "",
  };
}

describe("the limits of an offered list", () => {
  test("the millionth entry is the last", () => {
    const list = new EntryList();
    for (let object = 0; object < 1_000_000; object++) list.add(entry(object), 0);
    expect(() => list.add(entry(1_000_000), 0)).toThrow("more entries than this side takes");
  });

  test("it ends at 256 MiB", () => {
    const list = new EntryList();
    // An entry with a path of 4 056 bytes counts 4 096: 65 536 of them are 256 MiB.
    const path = "x".repeat(4_056);
    for (let object = 0; object < 65_536; object++) list.add(entry(object, path), 0);
    expect(() => list.add(entry(65_536), 0)).toThrow("longer than this side takes");
  });

  test("4 096 entries may be open", () => {
    const list = new EntryList();
    list.add(entry(0), 4_095);
    expect(() => list.add(entry(1), 4_096)).toThrow("more entries than this side takes");
  });

  test("its end says what was counted, once", () => {
    const list = new EntryList();
    list.add({ ...entry(0), sizeBytes: 7 }, 0);
    expect(() => list.end(2, 7)).toThrow("a wrong end");
    expect(() => list.end(1, 8)).toThrow("a wrong end");
    list.end(1, 7);
    expect(() => list.end(1, 7)).toThrow("a wrong end");
    expect(() => list.add(entry(1), 0)).toThrow("out of order");
  });
});
