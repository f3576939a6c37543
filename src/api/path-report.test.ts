import { describe, expect, test } from "vitest";
import type { GodwitEvent } from "../events/event.ts";
import type { SendLimit } from "../transport/limit-clock.ts";
import { PathHistory } from "./path-history.ts";
import { rateLimit } from "./path-report.ts";

const NONE: Readonly<Record<SendLimit, number>> = {
  congestion: 0,
  pacing: 0,
  "flow-control": 0,
  application: 0,
  disk: 0,
  handshake: 0,
};

describe("what held the rate", () => {
  test("the limit that held longest", () => {
    expect(rateLimit({ ...NONE, congestion: 5e6, disk: 4e6 }, {})).toBe("path");
    expect(rateLimit({ ...NONE, congestion: 4e6, disk: 5e6 }, {})).toBe("sender disk");
    expect(rateLimit({ ...NONE, application: 5e6 }, {})).toBe("small transfer");
    expect(rateLimit({ ...NONE, handshake: 5e6 }, {})).toBe("handshake");
  });

  test("a receiver does not know, but for its own processor and the handshake", () => {
    expect(rateLimit({ ...NONE, application: 5e6 }, { isReceiver: true })).toBe("other side");
    expect(rateLimit({ ...NONE, handshake: 5e6 }, { isReceiver: true })).toBe("handshake");
    expect(rateLimit({ ...NONE, application: 5e6 }, { isReceiver: true, busyFraction: 0.95 })).toBe("CPU");
  });

  test("pacing is the path's unless the user set a rate", () => {
    expect(rateLimit({ ...NONE, pacing: 5e6 }, { isCapped: false })).toBe("path");
    expect(rateLimit({ ...NONE, pacing: 5e6 }, { isCapped: true })).toBe("rate cap");
  });

  test("the receiver's window is its disk's when a quarter of the window waits to be written", () => {
    // The smallest window is 16 MiB.
    const quarter = 4 * 1024 * 1024;
    const held = { ...NONE, "flow-control": 5e6 };
    expect(rateLimit(held, { receiverBacklogBytes: quarter - 1 })).toBe("receiver window");
    expect(rateLimit(held, { receiverBacklogBytes: quarter })).toBe("receiver disk");
    expect(rateLimit({ ...NONE, pacing: 5e6 }, { receiverBacklogBytes: quarter })).toBe("path");
  });

  test("a thread that is never idle is the limit, except by a cap and in the first moments", () => {
    const busy = { busyFraction: 0.9 };
    expect(rateLimit({ ...NONE, congestion: 5e6 }, busy)).toBe("CPU");
    expect(rateLimit({ ...NONE, application: 5e6 }, busy)).toBe("CPU");
    expect(rateLimit({ ...NONE, congestion: 5e6 }, { busyFraction: 0.89 })).toBe("path");
    expect(rateLimit({ ...NONE, pacing: 5e6 }, { ...busy, isCapped: true })).toBe("rate cap");
    expect(rateLimit({ ...NONE, congestion: 4e5 }, busy)).toBe("path");
  });
});

describe("history", () => {
  const update = (window: number): GodwitEvent => ({
    type: "recovery-updated",
    smoothedRttUs: 1_000.6,
    minRttUs: 1,
    latestRttUs: 1,
    rttVariationUs: 1,
    congestionWindowBytes: window,
    bytesInFlight: 10,
    pacingRateBytesPerSecond: 1_040_815.065,
    bandwidthBytesPerSecond: 1,
  });

  test("keeps at most 64 samples that cover everything evenly", () => {
    const history = new PathHistory();
    for (let i = 0; i < 10_000; i++) history.add(update(i), i * 20_000);
    const { samples } = history;
    expect(samples.length).toBeGreaterThan(32);
    expect(samples.length).toBeLessThanOrEqual(64);
    // 200 s in at most 64 samples: 64 x 20 ms doubled 8 times is 327 s, 7 times only 163 s.
    const distances = new Set(samples.slice(1).map(({ atUs }, i) => atUs - samples[i].atUs));
    expect([...distances]).toEqual([20_000 * 2 ** 8]);
    expect(samples[0].atUs).toBe(0);
  });

  test("rounds, and leaves out other events and what comes too soon", () => {
    const history = new PathHistory();
    history.add({ type: "handshake-confirmed" }, 0);
    history.add(update(7), 5);
    history.add(update(8), 20_004);
    expect(history.samples).toEqual([
      {
        atUs: 5,
        smoothedRttUs: 1_001,
        congestionWindowBytes: 7,
        pacingRateBytesPerSecond: 1_040_815,
        bytesInFlight: 10,
      },
    ]);
  });
});
