import { describe, expect, test } from "vitest";
import {
  formatBytes,
  formatDuration,
  formatRate,
  parseBytes,
  parseDurationUs,
  parseProbability,
  parseRate,
} from "./units.ts";

const usage = expect.objectContaining({ code: "USAGE" });

describe("what people write", () => {
  test.each([
    ["500", 500],
    ["64k", 64_000],
    ["1.5MB", 1_500_000],
    ["16 MiB", 16_777_216],
  ])("size %s", (text, bytes) => expect(parseBytes(text)).toBe(bytes));

  test.each(["1constructor", "5__proto__", "9".repeat(400), "99999999T", ""])("no size: %s", (text) =>
    expect(() => parseBytes(text)).toThrow(usage),
  );

  test.each([
    ["50mbit", 6_250_000],
    ["8bit", 1],
    ["6MB/s", 6_000_000],
  ])("rate %s", (text, rate) => expect(parseRate(text)).toBe(rate));

  test.each([
    ["80ms", 80_000],
    ["1.5s", 1_500_000],
    ["2m", 120_000_000],
  ])("duration %s", (text, us) => expect(parseDurationUs(text)).toBe(us));

  test("probabilities are percentages or fractions", () => {
    expect(parseProbability("5%")).toBe(0.05);
    expect(parseProbability("0.5")).toBe(0.5);
    expect(() => parseProbability("5")).toThrow(usage);
  });

  test.each(["", "-1", "1e9", "5 parsecs", "mbit", "1.2.3s"])("%j is refused everywhere", (text) => {
    for (const parse of [parseBytes, parseRate, parseDurationUs, parseProbability]) {
      expect(() => parse(text)).toThrow(usage);
    }
  });
});

test("what people read", () => {
  expect([0, 999, 1_000, 999_500, 1_500_000, 386e9].map(formatBytes)).toEqual([
    "0 B",
    "999 B",
    "1.00 kB",
    "1.00 MB",
    "1.50 MB",
    "386 GB",
  ]);
  expect([1, 12_500, 11_762_500].map(formatRate)).toEqual(["8 bit/s", "100 kbit/s", "94.1 Mbit/s"]);
  expect([420_000, 12_340_000, 245e6, 7_384e6].map(formatDuration)).toEqual([
    "0.42 s",
    "12.3 s",
    "4:05",
    "2:03:04",
  ]);
});
