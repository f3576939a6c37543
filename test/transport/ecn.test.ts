/** ECN through whole connections: RFC 9000 §13.4, RFC 9002 §7.3. */
import { describe, expect, test } from "vitest";
import type { LinkConfig } from "../../src/sim/link-config.ts";
import { bbr, polite } from "../../src/transport/congestion/bbr.ts";
import { cubic } from "../../src/transport/congestion/cubic.ts";
import { newReno } from "../../src/transport/congestion/newreno.ts";
import type { CongestionControllerFactory } from "../../src/transport/congestion/controller.ts";
import type { ConnectionStatistics } from "../../src/transport/connection-statistics.ts";
import { patternBytes } from "./memory-objects.ts";
import { Pair } from "./pair.ts";

/** 5 MB/s and 40 ms: 200 kB under way; a queue of as much. */
const PATH: Partial<LinkConfig> = { rateBytesPerSecond: 5_000_000, delayUs: 20_000, queueBytes: 200_000 };

interface Outcome {
  readonly statistics: ConnectionStatistics;
  readonly seconds: number;
  readonly droppedQueue: number;
  readonly ecnStates: string[];
}

/** Moves `bytes` from the initiator, and fails if that takes more than two minutes. */
function move(
  forward: Partial<LinkConfig>,
  controllerFactory: CongestionControllerFactory = bbr,
  bytes = 15_000_000,
): Outcome {
  const pair = new Pair({ forward, backward: PATH, controllerFactory, seed: 3 });
  const { initiator, responder, world } = pair;
  const content = patternBytes(7, bytes);
  const startUs = world.nowUs;
  initiator.source.add(1, content);
  responder.sink.expect(1, bytes);
  const end = world.run(startUs + 120_000_000, () => responder.sink.isComplete(1));
  expect(end).toBe("done");
  expect(responder.sink.holds(1, content)).toBe(true);
  return {
    statistics: initiator.connection.statistics(world.nowUs),
    seconds: (world.nowUs - startUs) / 1e6,
    droppedQueue: pair.forward.link.statistics.droppedQueue,
    ecnStates: initiator.connection
      .takeEvents()
      .flatMap((event) => (event.type === "ecn-state-changed" ? [event.to] : [])),
  };
}

describe("a router that marks from a quarter of its queue on", () => {
  test.each([
    ["cubic", cubic, 0.85],
    ["newreno", newReno, 0.75],
    ["bbr", bbr, 0.85],
    ["polite", polite, 0.65],
  ] as const)("%s gives way to marks and keeps the link busy", (_name, factory, share) => {
    const plain = move(PATH, factory);
    const { statistics, seconds, droppedQueue, ecnStates } = move(
      { ...PATH, markQueueBytes: 50_000 },
      factory,
    );
    expect(statistics.ecnState).toBe("capable");
    expect(ecnStates).toEqual(["capable"]);
    expect(statistics.packetsCe).toBeGreaterThan(0);
    expect(seconds).toBeLessThan(15 / 5 / share);
    // What is lost is the overshoot of the first rounds, before any mark came back.
    expect(droppedQueue).toBeLessThanOrEqual(plain.droppedQueue);
  });
});

describe("a path that spoils marks", () => {
  test("all of them erased: validation fails, and the transfer is as quick as without", () => {
    const { statistics, seconds, ecnStates } = move({ ...PATH, bleachProbability: 1 });
    expect(statistics.ecnState).toBe("failed");
    expect(ecnStates).toEqual(["failed"]);
    expect(statistics.packetsCe).toBe(0);
    expect(seconds).toBeLessThan(15 / 5 / 0.85);
  });

  test("half of them erased: validation fails as soon as an ACK shows it", () => {
    expect(move({ ...PATH, bleachProbability: 0.5 }).statistics.ecnState).toBe("failed");
  });

  test.each([
    ["bbr", bbr],
    ["cubic", cubic],
  ] as const)("every packet marked CE, %s: the path says nothing by it", (_name, factory) => {
    const { statistics, seconds } = move({ ...PATH, markProbability: 1 }, factory);
    expect(statistics.ecnState).toBe("failed");
    expect(statistics.packetsCe).toBe(0);
    expect(seconds).toBeLessThan(15 / 5 / 0.8);
  });

  test.each([
    ["bbr", bbr],
    ["cubic", cubic],
  ] as const)(
    "every packet marked CE from 1 s on, %s: believed for a while, not for ever",
    (_name, factory) => {
      const { statistics, seconds } = move(
        { ...PATH, changes: [{ atUs: 1_000_000, set: { markProbability: 1 } }] },
        factory,
      );
      expect(statistics.ecnState).toBe("failed");
      expect(statistics.packetsCe).toBeGreaterThan(0);
      expect(seconds).toBeLessThan(10);
    },
  );
});

test("a few packets marked by chance cost no data and no verdict", () => {
  const { statistics } = move({ ...PATH, markProbability: 0.02, lossProbability: 0.02 });
  expect(statistics.ecnState).toBe("capable");
  expect(statistics.packetsCe).toBeGreaterThan(10);
});
