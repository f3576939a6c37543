import { expect, test } from "vitest";
import { entryLine } from "./entry-line.ts";

test("a listing line", () => {
  const entry = {
    path: "docs/a.txt",
    kind: "file",
    sizeBytes: 12_345,
    mode: 0o644,
    modifiedAtUs: 1e15,
    target: "",
  } as const;
  expect(entryLine(entry)).toBe("-rw-r--r--        12345  2001-09-09 01:46  docs/a.txt");
  expect(entryLine({ ...entry, kind: "directory", path: "docs", mode: 0o700 })).toBe(
    "drwx------               2001-09-09 01:46  docs/",
  );
});

test("a peer's names and times cannot harm a terminal", () => {
  const line = entryLine({
    path: "a\u001b[2Jb",
    kind: "symlink",
    sizeBytes: 0,
    mode: 0o777,
    modifiedAtUs: Number.MAX_SAFE_INTEGER,
    target: "\u202e.exe",
  });
  expect(line).toContain("a\\u{1b}[2Jb -> \\u{202e}.exe");
});
