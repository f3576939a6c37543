import { expect, test } from "vitest";
import { Cruise } from "./cruise.ts";
import { PathMeter } from "./path-meter.ts";

/** Cruises from 10 MB/s beside others who keep 38 ms of queue on a path of 2 ms, in datagrams of 1 000 bytes. */
function cruiseFor(rounds: number, isPolite: boolean): number {
  const meter = new PathMeter(1_000, 0);
  meter.minRttUs = 2_000;
  meter.queueUs = 38_000;
  const cruise = new Cruise(meter, isPolite, () => 0);
  cruise.rate = 10_000_000;
  for (let round = 1; round <= rounds; round++) cruise.steer(round * 40_000);
  return cruise.rate;
}

test("a tenth less each round while the queue is too long", () => {
  expect(cruiseFor(2, false)).toBeCloseTo(8_100_000, 0);
});

test("never less than one datagram a round trip, however long the others keep the queue", () => {
  // 1 000 bytes in 40 ms.
  expect(cruiseFor(1_000, false)).toBeCloseTo(25_000, 0);
});

test("polite keeps its own floor of 50 000 bytes a second where round trips are short", () => {
  expect(cruiseFor(1_000, true)).toBeCloseTo(50_000, 0);
});
