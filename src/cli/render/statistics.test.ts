import { expect, test } from "vitest";
import type { PathReport } from "../../api/path-report.ts";
import { curve, statisticsLines } from "./statistics.ts";

const REPORT: PathReport = {
  minRttUs: 80_400,
  smoothedRttUs: 83_123,
  rttVariationUs: 950,
  lossFraction: 0.0123,
  retransmittedFraction: 0.0131,
  wireBytes: 50_000_000,
  retransmittedBytes: 655_000,
  receivedWireBytes: 900_000,
  packetsSent: 34_000,
  spuriousPackets: 1,
  reorderedPackets: 0,
  largestReordering: 0,
  probeTimeouts: 2,
  ecn: "capable",
  markedPackets: 7,
  datagramBytes: 1_472,
  congestionWindowBytes: 1_040_815,
  pacingRateBytesPerSecond: 6_250_000,
  bandwidthBytesPerSecond: 6_000_000,
  controller: "bbr",
  keyUpdates: 0,
  pathChanges: 1,
  limit: "receiver disk",
  limitedUs: {
    congestion: 0,
    pacing: 1_000_000,
    "flow-control": 3_000_000,
    application: 0,
    disk: 0,
    handshake: 4,
  },
  receiverBacklogBytes: 16_000_000,
  busyFraction: 0.314,
  history: [],
};

test("the path explained, in numbers for people", () => {
  expect(statisticsLines(REPORT)).toEqual([
    "  round trip  80.4 ms at least, 83.1 ms smoothed, ±0.95 ms",
    "  loss        1.23 % of 34000 packets, 1 packet declared lost too early, 2 timeouts; none received out of order",
    "  marks       7 packets marked as congested (ECN)",
    "  sent        50.0 MB, 655 kB of it again (1.31 %)",
    "  datagrams   1472 B, 0 key updates, 1 path change",
    "  controller  bbr: window 1.04 MB, pacing 50.0 Mbit/s, bandwidth 48.0 Mbit/s",
    "  time        4.00 s: flow-control 75 %, pacing 25 %; main thread busy 31 %",
    "  held by     receiver disk: the receiver's disk: what arrived waited to be written",
  ]);
});

test("curves over the transfer, with their range", () => {
  const sample = { atUs: 0, smoothedRttUs: 80_000, pacingRateBytesPerSecond: 1_250_000, bytesInFlight: 0 };
  const lines = statisticsLines({
    ...REPORT,
    reorderedPackets: 3,
    largestReordering: 2,
    history: [10_000, 20_000, 40_000, 80_000].map((congestionWindowBytes) => ({
      ...sample,
      congestionWindowBytes,
    })),
  });
  expect(lines[1]).toMatch(/; 3 received out of order, by 2 at most$/);
  // An eighth, a quarter, a half and all of the largest.
  expect(lines[6]).toBe("  window      ▂▃▅█  10.0 kB to 80.0 kB");
  expect(lines[7]).toBe("  pacing      ████  10.0 Mbit/s to 10.0 Mbit/s");
  expect(lines[8]).toBe("  round trip  ████  80.0 ms to 80.0 ms");
});

test("a curve", () => {
  expect(curve([])).toBe("");
  expect(curve([0, 0])).toBe("▁▁");
  expect(curve([0, 4, 8])).toBe("▁▅█");
  expect(curve([Number.POSITIVE_INFINITY, 8])).toBe("█");
  // 64 values in 32 columns: each is the mean of two.
  const bars = curve(Array.from({ length: 64 }, (_, i) => (i < 32 ? 0 : 8)));
  expect(bars).toBe("▁".repeat(16) + "█".repeat(16));
});
