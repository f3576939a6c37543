import { expect, test } from "vitest";
import { boardLines, tableRow, terminalRows, type BoardLane } from "./fleet-board.ts";

const TOTAL = {
  receivers: 40,
  completeReceivers: 3,
  endedReceivers: 4,
  verifiedBytes: 100_000_000,
  totalBytes: 400_000_000,
  rateBytesPerSecond: 12_500_000,
  sourceReadBytes: 10_000_000,
  sourceRereadBytes: 0,
  relay: undefined,
};

function lane(target: string, state: BoardLane["state"]): BoardLane {
  return {
    target,
    state,
    verifiedBytes: 5_000_000,
    totalBytes: 10_000_000,
    rateBytesPerSecond: 1_250_000,
    lossFraction: undefined,
  };
}

test("a line for each lane that moves, the whole last", () => {
  // 5 MB left at 1.25 MB/s are 4 s; 300 MB left at 12.5 MB/s are 24 s.
  expect(
    boardLines([lane("lab1", "moving"), lane("lab2", "dialling"), lane("lab3", "waiting")], TOTAL, 8, 200),
  ).toEqual([
    "lab1                      [############------------] 50.0 %  5.00 MB of 10.0 MB  10.0 Mbit/s  ETA 4.00 s",
    "lab2                      connecting",
    "3/40 receivers, 1 failed  [######------------------] 25.0 %  100 MB of 400 MB  100 Mbit/s  ETA 24.0 s",
  ]);
});

test("many lanes are folded, and lines never exceed the terminal", () => {
  const lanes = Array.from({ length: 20 }, (_, i) => lane(`lab${i}`, "moving"));
  const lines = boardLines(lanes, { ...TOTAL, sourceRereadBytes: 2_000_000 }, 5, 60);
  expect(lines.length).toBe(6);
  // 16 lanes of 10 Mbit/s.
  expect(lines[4]).toBe("and 16 more, together 160 Mbit/s");
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(60);
});

test("a row of the last table; a receiver's words cannot harm a terminal", () => {
  const row = {
    target: "lab1",
    verdict: "resumed",
    files: 1,
    unchangedFiles: 0,
    bytes: 20_000_000,
    resumedBytes: 10_000_000,
    seconds: 4,
    attempts: 2,
    text: "",
  } as const;
  expect(tableRow(row)).toBe(
    "lab1                      resumed      1 file, 20.0 MB in 4.00 s (20.0 Mbit/s), 10.0 MB from before, 2 attempts",
  );
  expect(tableRow({ ...row, verdict: "refused", attempts: 1, text: "no\u001b[2J" })).toBe(
    "lab1                      refused      no\\u{1b}[2J",
  );
});

test("a line is cut where the terminal ends", () => {
  expect(terminalRows("abcdefgh", 3)).toEqual(["abc", "def", "gh"]);
  expect(terminalRows("abc", 3)).toEqual(["abc"]);
  expect(terminalRows("a\n\nb", 3)).toEqual(["a", "", "b"]);
});
