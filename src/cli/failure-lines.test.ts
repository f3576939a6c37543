import { expect, test } from "vitest";
import type { TransferUpdate } from "../api/transfer.ts";
import { FailureLines } from "./failure-lines.ts";

function failed(path: string): TransferUpdate {
  return { type: "file-failed", path, code: "SOURCE_UNREADABLE", text: `cannot read ${path}` };
}

function progress(verifiedBytes: number, committedFiles: number): TransferUpdate {
  const unknown = { totalBytes: undefined, totalFiles: undefined };
  return { type: "progress", verifiedBytes, committedFiles, resumedBytes: 0, ...unknown };
}

function told(updates: readonly TransferUpdate[], last?: string): string[] {
  const lines: string[] = [];
  const failures = new FailureLines((line) => lines.push(line));
  for (const update of updates) failures.handle(update);
  failures.end(last);
  return lines;
}

test("the only failure is the last word, and is left to it", () => {
  expect(told([progress(0, 0), failed("a"), progress(0, 0)], "cannot read a")).toEqual([]);
  expect(told([progress(9, 0), failed("a"), progress(9, 0)], "cannot read a")).toEqual([]);
});

test("another last word hides no failure", () => {
  expect(told([failed("a")], "the peer is gone")).toEqual(["cannot read a"]);
  expect(told([failed("a")])).toEqual(["cannot read a"]);
});

test("beside other files each failure is told when it happens", () => {
  const lines: string[] = [];
  const failures = new FailureLines((line) => lines.push(line));
  failures.handle(failed("a"));
  expect(lines).toEqual([]);
  failures.handle(progress(1, 0));
  expect(lines).toEqual(["cannot read a"]);
  failures.handle(failed("b"));
  expect(lines).toEqual(["cannot read a", "cannot read b"]);
  failures.end(undefined);
  expect(lines.length).toBe(2);
});

test("several failures are told one by one", () => {
  expect(told([failed("a"), failed("b")], "cannot read a (and 1 more)")).toEqual([
    "cannot read a",
    "cannot read b",
  ]);
  expect(told([progress(5, 1), failed("a")])).toEqual(["cannot read a"]);
});

test("a sentence without its file gets it, and nothing acts on a terminal", () => {
  const update = {
    type: "file-failed",
    path: "\u{1B}[2J",
    code: "SOURCE_CHANGED",
    text: "it changed",
  } as const;
  expect(told([update])).toEqual([String.raw`\u{1b}[2J: it changed`]);
});
