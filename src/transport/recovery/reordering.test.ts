import { expect, test } from "vitest";
import { ReorderingTolerance } from "./reordering.ts";

const RTT_US = 80_000;

test("starts with three packets and an eighth of the round trip, RFC 9002 §6.1", () => {
  const tolerance = new ReorderingTolerance();
  expect(tolerance.packetThreshold).toBe(3);
  expect(tolerance.windowUs(RTT_US)).toBe(10_000);
});

test("a packet that came late after being declared lost widens both", () => {
  const tolerance = new ReorderingTolerance();
  tolerance.handleLate(9, 24_000, RTT_US, true);
  expect(tolerance.packetThreshold).toBe(10); // one more than the distance, more than twice three
  expect(tolerance.windowUs(RTT_US)).toBe(30_000); // a quarter more than its lateness
  tolerance.handleLate(10, 1_000, RTT_US, true);
  expect(tolerance.packetThreshold).toBe(20); // doubled
});

test("a late packet that was not declared lost widens the window only", () => {
  const tolerance = new ReorderingTolerance();
  tolerance.handleLate(2, 16_000, RTT_US, false);
  expect(tolerance.packetThreshold).toBe(3);
  expect(tolerance.windowUs(RTT_US)).toBe(20_000);
});

test("the window is at most four round trips, the packet threshold gives way to time", () => {
  const tolerance = new ReorderingTolerance();
  tolerance.handleLate(5_000, 9_000_000, RTT_US, true);
  expect(tolerance.windowUs(RTT_US)).toBe(320_000);
  expect(tolerance.packetThreshold).toBe(Infinity);
});

test("tolerance halves after 16 rounds in order, down to where it started", () => {
  const tolerance = new ReorderingTolerance();
  tolerance.handleLate(9, 32_000, RTT_US, true);
  for (let round = 0; round < 15; round++) tolerance.handleRound();
  expect(tolerance.windowUs(RTT_US)).toBe(40_000);
  tolerance.handleRound();
  expect(tolerance.windowUs(RTT_US)).toBe(20_000);
  expect(tolerance.packetThreshold).toBe(5);
  // Fresh evidence of at least half the tolerance starts the count again.
  for (let round = 0; round < 15; round++) tolerance.handleRound();
  tolerance.handleLate(1, 10_000, RTT_US, false);
  for (let round = 0; round < 15; round++) tolerance.handleRound();
  expect(tolerance.windowUs(RTT_US)).toBe(20_000);
  for (let round = 0; round < 64; round++) tolerance.handleRound();
  expect(tolerance.windowUs(RTT_US)).toBe(10_000);
  expect(tolerance.packetThreshold).toBe(3);
});
