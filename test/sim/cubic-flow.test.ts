import { describe, expect, test } from "vitest";
import { CubicReceiver, CubicSender } from "../../src/sim/cubic-flow.ts";
import type { LinkConfig } from "../../src/sim/link-config.ts";
import type { Hop } from "../../src/sim/world.ts";
import { World } from "../../src/sim/world.ts";

const RATE = 12_500_000 / 10; // 10 Mbit/s in bytes per second

function flow(world: World, name: string, shared: Hop, delayUs: number): CubicSender {
  const a = world.addHost(`${name}-a`);
  const b = world.addHost(`${name}-b`);
  world.route(a, b, [shared, world.addLink(`${name}>`, { delayUs })]);
  world.route(b, a, [world.addLink(`<${name}`, { delayUs })]);
  const sender = new CubicSender(b.publicAddress);
  a.start(sender);
  b.start(new CubicReceiver(a.publicAddress));
  return sender;
}

function bottleneck(extra: Partial<LinkConfig> = {}): Partial<LinkConfig> {
  return { rateBytesPerSecond: RATE, queueBytes: RATE * 0.04, ...extra };
}

describe("a CUBIC neighbour", () => {
  test("fills a link with a queue of one bandwidth-delay product", () => {
    const world = new World(1);
    const shared = world.addLink("shared", bottleneck());
    const sender = flow(world, "x", shared, 20_000);
    world.runFor(60_000_000);
    // 1 448 of 1 500 bytes are data: at most 96.5 % of the link.
    const share = sender.deliveredBytes / (RATE * 60);
    expect(share).toBeGreaterThan(0.9);
    expect(share).toBeLessThan(0.966);
    expect(shared.link.statistics.droppedQueue).toBeGreaterThan(0);
    expect(sender.retransmissions).toBeGreaterThanOrEqual(shared.link.statistics.droppedQueue);
    expect(sender.retransmissions).toBeLessThan(shared.link.statistics.droppedQueue * 1.2 + 20);
  });

  test("two share within a factor of two", () => {
    const world = new World(2);
    const shared = world.addLink("shared", bottleneck());
    const first = flow(world, "x", shared, 20_000);
    const second = flow(world, "y", shared, 20_000);
    world.runFor(120_000_000);
    const ratio = first.deliveredBytes / second.deliveredBytes;
    expect(ratio).toBeGreaterThan(0.5);
    expect(ratio).toBeLessThan(2);
    expect(first.deliveredBytes + second.deliveredBytes).toBeGreaterThan(RATE * 120 * 0.88);
  });

  test("random loss keeps it far below the link, as RFC 9438 predicts", () => {
    const world = new World(3);
    const shared = world.addLink("shared", bottleneck({ lossProbability: 0.02 }));
    const sender = flow(world, "x", shared, 40_000);
    world.runFor(60_000_000);
    // Reno-friendly region, RFC 9438 §5.1 (RFC 5681's 1.22/sqrt(p)): 8.6 segments per 80 ms, 156 kB/s.
    const bytesPerSecond = sender.deliveredBytes / 60;
    expect(bytesPerSecond).toBeGreaterThan(100_000);
    expect(bytesPerSecond).toBeLessThan(250_000);
  });

  test("recovers from a blackout", () => {
    const world = new World(4);
    const dark = { blackholes: [{ fromUs: 5_000_000, untilUs: 8_000_000 }] };
    const shared = world.addLink("shared", bottleneck(dark));
    const sender = flow(world, "x", shared, 20_000);
    world.runFor(8_000_000);
    const before = sender.deliveredBytes;
    world.runFor(10_000_000);
    expect(sender.deliveredBytes - before).toBeGreaterThan(RATE * 10 * 0.5);
  });
});
