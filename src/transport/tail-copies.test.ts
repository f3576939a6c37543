import { describe, expect, test } from "vitest";
import { TailCopies } from "./tail-copies.ts";

const UNKNOWN = { lostPackets: 0, totalPackets: 10 };
const CLEAN = { lostPackets: 0, totalPackets: 1_000 };
const LOSSY = { lostPackets: 50, totalPackets: 1_000 };
const VERY_LOSSY = { lostPackets: 100, totalPackets: 1_000 };

describe("copies at the end of a flight", () => {
  test("are sent while nothing is known of loss, and where there is some", () => {
    const copies = new TailCopies();
    expect(copies.isWanted(UNKNOWN)).toBe(true);
    expect(copies.isWanted(LOSSY)).toBe(true);
    expect(copies.isWanted(CLEAN)).toBe(false);
    // Left-out packet numbers look like a loss of one in five hundred.
    expect(copies.isWanted({ lostPackets: 2, totalPackets: 1_000 })).toBe(false);
  });

  test("wait an eighth of a round trip, ten milliseconds at least", () => {
    const copies = new TailCopies();
    expect(copies.dueUs(1_000_000, 240_000)).toBe(1_030_000);
    expect(copies.dueUs(1_000_000, 5_000)).toBe(1_010_000);
  });

  test("are eight at first and one in a hundred packets then, 256 at most", () => {
    const copies = new TailCopies();
    for (let number = 0; number < 8; number++) {
      expect(copies.isWanted(LOSSY)).toBe(true);
      copies.handleCopied(number, 100 + number);
    }
    expect(copies.isWanted(LOSSY)).toBe(false);
    copies.handlePackets(99);
    expect(copies.isWanted(LOSSY)).toBe(false);
    copies.handlePackets(101);
    expect(copies.isWanted(LOSSY)).toBe(true);
    copies.handlePackets(1_000_000);
    for (let sent = 0; sent < 256; sent++) copies.handleCopied(200 + sent, 1_000 + sent);
    expect(copies.isWanted(LOSSY)).toBe(false);
  });

  test("a copy is worth another one only where much is lost, and that one none", () => {
    const copies = new TailCopies();
    expect(copies.isWorthCopy(5, VERY_LOSSY)).toBe(true);
    copies.handleCopied(5, 9);
    expect(copies.lowest).toBe(6);
    expect(copies.isWorthCopy(7, LOSSY)).toBe(true);
    expect(copies.isWorthCopy(9, LOSSY)).toBe(false);
    expect(copies.isWorthCopy(9, VERY_LOSSY)).toBe(true);
    copies.handleCopied(9, 12);
    expect(copies.isWorthCopy(12, VERY_LOSSY)).toBe(false);
    copies.handleSkipped(12);
    expect(copies.lowest).toBe(13);
    expect(copies.isWorthCopy(13, VERY_LOSSY)).toBe(true);
  });
});
