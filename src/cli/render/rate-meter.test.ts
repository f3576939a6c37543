import { expect, test } from "vitest";
import { RateMeter } from "./rate-meter.ts";

test("the rate is that of the last three seconds", () => {
  const meter = new RateMeter();
  expect(meter.add(0, 1_000)).toBe(0);
  expect(meter.add(500, 1_500)).toBe(1_000);
  meter.add(3_000, 4_000);
  // From 1 000 at 4 000 ms ago on: the sample at 4 000 ms is the oldest that counts.
  expect(meter.add(3_000 + 600, 7_000)).toBe(200);
});
