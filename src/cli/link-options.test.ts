import { describe, expect, test } from "vitest";
import { LINK_OPTIONS, parseLinkOptions } from "./link-options.ts";

describe("link options", () => {
  test("become a configuration, in both directions", () => {
    const values = {
      delay: "40ms",
      jitter: "5ms:1s",
      rate: "50mbit",
      queue: "1MB",
      mtu: "1400",
      loss: "5%:3",
      reorder: "1%:20ms",
      duplicate: "0.5:9",
      corrupt: "2%:1",
      truncate: "0.2%",
      replay: "1%",
      junk: "0.01",
      stall: "3s:300ms",
      blackhole: "2s:5s",
      outage: "1s:2s,10s:500ms",
    };
    const expected = {
      delayUs: 40_000,
      jitterUs: 5_000,
      jitterPeriodUs: 1_000_000,
      rateBytesPerSecond: 6_250_000,
      queueBytes: 1_000_000,
      mtuBytes: 1_400,
      lossProbability: 0.05,
      lossRunMax: 3,
      reorderProbability: 0.01,
      reorderDelayUs: 20_000,
      duplicateProbability: 0.5,
      duplicateCopies: 9,
      corruptProbability: 0.02,
      corruptBitsMax: 1,
      truncateProbability: 0.002,
      replayProbability: 0.01,
      junkProbability: 0.01,
      stallEveryUs: 3_000_000,
      stallUs: 300_000,
      blackholeEveryUs: 7_000_000,
      blackholeForUs: 5_000_000,
      blackholes: [
        { fromUs: 1_000_000, untilUs: 3_000_000 },
        { fromUs: 10_000_000, untilUs: 10_500_000 },
      ],
    };
    expect(parseLinkOptions(values, "up")).toEqual(expected);
    expect(parseLinkOptions(values, "down")).toEqual(expected);
  });

  test("one direction wins over both", () => {
    const values = { loss: "5%", "up-loss": "1%", "down-delay": "7ms" };
    expect(parseLinkOptions(values, "up")).toEqual({ lossProbability: 0.01, lossRunMax: 0 });
    expect(parseLinkOptions(values, "down")).toEqual({
      lossProbability: 0.05,
      lossRunMax: 0,
      delayUs: 7_000,
    });
  });

  test("a queue in datagrams", () => {
    expect(parseLinkOptions({ queue: "25p" }, "up")).toMatchObject({ queueDatagrams: 25 });
  });

  test("bursts: 3 % in runs of 20 means leaving 1 in 20 and entering 1 in 647", () => {
    const { burstEnterProbability, burstLeaveProbability } = parseLinkOptions({ burst: "3%:20" }, "up");
    expect(burstLeaveProbability).toBeCloseTo(0.05, 10);
    expect(burstEnterProbability).toBeCloseTo(0.03 / (20 * 0.97), 10);
  });

  test("changes at a time use the same names", () => {
    expect(parseLinkOptions({ at: "10s:rate=25mbit,loss=1% 20s:rate=50mbit" }, "up")).toEqual({
      changes: [
        { atUs: 10_000_000, set: { rateBytesPerSecond: 3_125_000, lossProbability: 0.01, lossRunMax: 0 } },
        { atUs: 20_000_000, set: { rateBytesPerSecond: 6_250_000 } },
      ],
    });
  });

  test.each([
    ["delay", "fast", "duration"],
    ["jitter", "1ms:2ms:3ms", "--jitter"],
    ["rate", "50", "rate"],
    ["queue", "0", "--queue"],
    ["queue", "0p", "--queue"],
    ["loss", "150%", "probability"],
    ["loss", "5%:x", "--loss"],
    ["burst", "5%", "--burst"],
    ["burst", "100%:5", "--outage"],
    ["burst", "5%:0", "--burst"],
    ["reorder", "5%", "--reorder"],
    ["corrupt", "5%:0", "--corrupt"],
    ["outage", "5s", "--outage"],
    ["at", "10s", "--at"],
    ["at", "10s:speed=1", "--at"],
    ["at", "10s:at=1", "--at"],
  ])("--%s %s is refused and says why", (name, text, why) => {
    expect(() => parseLinkOptions({ [name]: text }, "up")).toThrow(why);
  });

  test("each has a help text and a value name", () => {
    for (const option of LINK_OPTIONS) expect(option.text.length * option.value.length).toBeGreaterThan(0);
  });
});
