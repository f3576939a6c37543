import { describe, expect, test } from "vitest";
import { DatagramSize } from "./datagram-size.ts";

/** Bytes per second. */
const mbit = (rate: number): number => rate * 125_000;

describe("the size of datagrams", () => {
  test("is what the path carries where that takes 2 ms at most", () => {
    const size = new DatagramSize(1_200);
    // 65 507 bytes in 2 ms are 262 Mbit/s; the size grows with a quarter to spare: 328 Mbit/s.
    expect(size.choose(65_507, mbit(330), 40_000)).toBe(true);
    expect(size.bytes).toBe(65_507);
    expect(size.choose(65_507, mbit(263), 40_000)).toBe(false);
    expect(size.choose(65_507, mbit(261), 40_000)).toBe(true);
    expect(size.bytes).toBe(32_753);
  });

  test("is a half of it, and a half of that, on slower paths, and on slow ones a sixteenth, or 1 472", () => {
    const size = new DatagramSize(1_200);
    // 2 ms of 50 Mbit/s are 12 500 bytes: 8 188 with a quarter to spare fits, 16 376 does not.
    size.choose(65_507, mbit(50), 40_000);
    expect(size.bytes).toBe(8_188);
    size.choose(65_507, mbit(1), 40_000);
    expect(size.bytes).toBe(4_094);
    size.choose(23_552, mbit(1), 40_000);
    expect(size.bytes).toBe(1_472);
    size.choose(8_972, mbit(1), 40_000);
    expect(size.bytes).toBe(1_472);
  });

  test("is never more than what passes", () => {
    const size = new DatagramSize(1_200);
    size.choose(1_452, mbit(1_000), 40_000);
    expect(size.bytes).toBe(1_452);
    size.choose(1_200, mbit(0.1), 40_000);
    expect(size.bytes).toBe(1_200);
  });

  test("does not depend on the rate where round trips are short or unknown", () => {
    const size = new DatagramSize(1_200);
    size.choose(65_507, mbit(1), 9_999);
    expect(size.bytes).toBe(65_507);
    size.choose(65_507, mbit(1), 10_000);
    expect(size.bytes).toBe(4_094);
    size.choose(65_507, mbit(1), 0);
    expect(size.bytes).toBe(65_507);
  });

  test("does not swing with a rate near a step", () => {
    const size = new DatagramSize(1_200);
    size.choose(65_507, mbit(33), 40_000);
    const changes = [34, 40, 33, 40, 33].filter((rate) => size.choose(65_507, mbit(rate), 40_000));
    expect(size.bytes).toBe(4_094);
    expect(changes).toEqual([]);
  });
});
