import { expect, test } from "vitest";
import { verdictLine } from "./verdict.ts";

const VIEW = {
  verb: "sent",
  files: 12,
  bytes: 386_000_000,
  resumedBytes: 0,
  seconds: 32.8,
  root: "9f3c".padEnd(64, "0"),
  peer: "lab1:4639 (KEY)",
} as const;

test("what was verified, how fast, and where it is", () => {
  // 386 MB in 32.8 s are 94.1 Mbit/s.
  expect(verdictLine(VIEW)).toBe(
    "verified 12 files, 386 MB in 32.8 s (94.1 Mbit/s), flushed on lab1:4639 (KEY), root 9f3c000000000000...",
  );
});

test("the rate counts what was moved now, not what was there from before", () => {
  expect(verdictLine({ ...VIEW, files: 1, resumedBytes: 193_000_000, verb: "received", root: "" })).toBe(
    "verified 1 file, 386 MB in 32.8 s (47.1 Mbit/s), 193 MB of it from before, flushed here, from lab1:4639 (KEY)",
  );
});

test("nothing moved has no rate", () => {
  expect(verdictLine({ ...VIEW, files: 0, bytes: 0, seconds: 0.2, root: "" })).toBe(
    "verified 0 files, 0 B in 0.20 s, flushed on lab1:4639 (KEY)",
  );
});
