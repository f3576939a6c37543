import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { makeDirectories } from "./make-directories.ts";

let base = "";
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "godwit-make-"));
});
afterEach(() => rmSync(base, { recursive: true }));

test("makes what is missing and names the uppermost of it", () => {
  expect(makeDirectories(join(base, "a", "b", "c"))).toBe(join(base, "a"));
  expect(statSync(join(base, "a", "b", "c")).isDirectory()).toBe(true);
  expect(makeDirectories(join(base, "a", "b", "d"))).toBe(join(base, "a", "b", "d"));
  expect(makeDirectories(join(base, "a", "b", "d"))).toBeUndefined();
});

test("what is made has the mode asked for", () => {
  makeDirectories(join(base, "a", "b"), 0o700);
  expect(statSync(join(base, "a")).mode & 0o777).toBe(0o700);
  expect(statSync(join(base, "a", "b")).mode & 0o777).toBe(0o700);
});

test("a file in the way is ENOTDIR, at the end and above it", () => {
  writeFileSync(join(base, "file"), "");
  expect(() => makeDirectories(join(base, "file"))).toThrow("ENOTDIR");
  expect(() => makeDirectories(join(base, "file", "below"))).toThrow("ENOTDIR");
});

test.runIf(process.platform === "linux")(
  "a place where nothing can be made is an error, not an endless loop",
  () => {
    expect(() => makeDirectories("/proc/godwit/below")).toThrow("ENOENT");
  },
);
