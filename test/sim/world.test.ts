import { describe, expect, test } from "vitest";
import type { LinkConfig } from "../../src/sim/link-config.ts";
import { addressText } from "../../src/sim/sim-address.ts";
import { World } from "../../src/sim/world.ts";
import type { SimHost } from "../../src/sim/host.ts";
import { StopAndWaitReceiver, StopAndWaitSender } from "./stop-and-wait.ts";

interface Pair {
  readonly world: World;
  readonly a: SimHost;
  readonly b: SimHost;
  readonly sender: StopAndWaitSender;
  readonly receiver: StopAndWaitReceiver;
}

function pair(seed: number, link: Partial<LinkConfig>, count: number, timeoutUs = 100_000): Pair {
  const world = new World(seed);
  const a = world.addHost("a");
  const b = world.addHost("b");
  world.connect(a, b, link);
  const sender = new StopAndWaitSender(b.publicAddress, count, timeoutUs);
  const receiver = new StopAndWaitReceiver();
  a.start(sender);
  b.start(receiver);
  return { world, a, b, sender, receiver };
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

describe("a conversation in virtual time", () => {
  test("takes a round trip a number", () => {
    const { world, sender, receiver } = pair(1, { delayUs: 20_000 }, 10);
    const beginUs = world.nowUs;
    expect(world.run(beginUs + 10_000_000, () => sender.isDone)).toBe("done");
    expect(world.nowUs - beginUs).toBe(400_000);
    expect(receiver.arrivalsUs[0] - beginUs).toBe(20_000);
    expect(sender.timeouts).toBe(0);
    expect(world.run(world.nowUs + 1_000_000)).toBe("deadline");
  });

  test("survives every fault at once, the same way each time", () => {
    const faults: Partial<LinkConfig> = {
      rateBytesPerSecond: 1_000_000,
      delayUs: 10_000,
      jitterUs: 9_000,
      lossProbability: 0.2,
      corruptProbability: 0.2,
      truncateProbability: 0.1,
      duplicateProbability: 0.2,
      reorderProbability: 0.2,
      reorderDelayUs: 30_000,
      replayProbability: 0.2,
      junkProbability: 0.2,
    };
    const run = (seed: number): number => {
      const { world, sender, receiver } = pair(seed, faults, 200);
      expect(world.run(1e12, () => sender.isDone)).toBe("done");
      expect(receiver.values).toEqual(numbers(200));
      return world.nowUs;
    };
    expect(run(5)).toBe(run(5));
    expect(run(5)).not.toBe(run(6));
  });

  test("what has no destination is counted, not delivered", () => {
    const world = new World(1);
    const a = world.addHost("a");
    const b = world.addHost("b");
    world.addLink("unused", {});
    a.start(new StopAndWaitSender(b.publicAddress, 1, 100_000));
    world.runFor(1_050_000);
    expect(world.unroutable).toBe(11);
  });
});

describe("hosts", () => {
  test("a rebinding NAT changes the port; answers to the old one are lost", () => {
    const { world, a, sender, receiver } = pair(1, { delayUs: 20_000 }, 10);
    const seen = new Set<string>();
    world.watch((_bytes, from) => void seen.add(addressText(from)));
    world.clock.at(world.nowUs + 30_000, () => a.rebind());
    expect(world.run(1e9, () => sender.isDone)).toBe("done");
    expect(receiver.values).toEqual(numbers(10));
    expect(world.unroutable).toBe(1);
    expect(sender.timeouts).toBe(1);
    expect([...seen]).toEqual(["10.0.0.2:4639", "10.0.0.1:49153"]);
  });

  test("a host that moves appears with another address", () => {
    const { world, a, sender } = pair(1, { delayUs: 20_000 }, 10);
    const before = addressText(a.publicAddress);
    world.clock.at(world.nowUs + 30_000, () => a.move());
    expect(world.run(1e9, () => sender.isDone)).toBe("done");
    expect(addressText(a.publicAddress).split(":")[0]).not.toBe(before.split(":")[0]);
  });

  test("datagrams for an address whose owner moved away vanish at the end of the link", () => {
    const { world, b, sender } = pair(1, { delayUs: 20_000 }, 10);
    b.move();
    world.runFor(450_000);
    expect(sender.acknowledged).toBe(0);
    expect(world.links[0].link.statistics.datagramsOut).toBe(5);
    expect(world.unroutable).toBe(5);
  });

  test("a paused process is late, not deaf", () => {
    const { world, b, sender, receiver } = pair(1, { delayUs: 20_000 }, 3);
    b.pause(1_000_000);
    const beginUs = world.nowUs;
    expect(world.run(1e9, () => sender.isDone)).toBe("done");
    expect(receiver.arrivalsUs[0] - beginUs).toBe(1_000_000);
    expect(receiver.values).toEqual([0, 1, 2]);
    // One at the start and one every 100 ms: ten had piled up, all were answered.
    expect(sender.timeouts).toBe(10);
  });

  test("a paused sender sends nothing", () => {
    const { world, a, sender } = pair(1, { delayUs: 20_000, lossProbability: 1 }, 3);
    world.runFor(50_000);
    a.pause(1_000_000);
    world.runFor(990_000);
    expect(a.statistics.datagramsSent).toBe(1);
    world.runFor(20_000);
    expect(a.statistics.datagramsSent).toBe(2);
    expect(sender.timeouts).toBe(1);
  });

  test("a full socket buffer drops", () => {
    const { world, b } = pair(1, { delayUs: 1_000 }, 1, 1_000);
    b.pause(1_000_000);
    b.socketBufferBytes = 10 * (3 + 768);
    world.runFor(500_500);
    expect(b.statistics.droppedBuffer).toBe(490);
  });

  test("a crashed process hears nothing and its timers are dead; a new one takes over", () => {
    const { world, a, b, sender, receiver } = pair(1, { delayUs: 20_000 }, 10);
    world.clock.at(world.nowUs + 90_000, () => b.crash());
    world.runFor(1_000_000);
    expect(receiver.values).toEqual([0, 1]);
    expect(b.statistics.droppedClosed).toBeGreaterThan(5);
    const second = new StopAndWaitReceiver();
    second.values.push(0, 1);
    b.start(second);
    expect(world.run(1e9, () => sender.isDone)).toBe("done");
    expect(second.values).toEqual(numbers(10));
    a.crash();
    expect(world.run(1e9)).toBe("deadline");
    expect(a.statistics.datagramsSent).toBeGreaterThan(10);
  });

  test("an endpoint that never lets time pass is named", () => {
    const world = new World(1);
    const a = world.addHost("a");
    a.start({
      handleDatagrams: () => undefined,
      handleTimeout: () => undefined,
      pollTransmit: () => undefined,
      nextTimeoutUs: () => world.nowUs,
    });
    expect(() => world.runFor(1)).toThrow("the endpoint of a is stuck");
  });
});

test("two conversations share a bottleneck, each keeps its own delay", () => {
  const world = new World(1);
  const shared = world.addLink("shared", { rateBytesPerSecond: 1_000_000, overheadBytes: 0 });
  const beginUs = world.nowUs;
  const converse = (name: string, delayUs: number): StopAndWaitReceiver => {
    const a = world.addHost(`${name}-a`);
    const b = world.addHost(`${name}-b`);
    world.route(a, b, [shared, world.addLink(`${name}>`, { delayUs })]);
    world.route(b, a, [world.addLink(`<${name}`, {})]);
    const receiver = new StopAndWaitReceiver();
    b.start(receiver);
    a.start(new StopAndWaitSender(b.publicAddress, 1, 1_000_000, 997));
    return receiver;
  };
  const near = converse("near", 1_000);
  const far = converse("far", 50_000);
  world.runFor(500_000);
  // 1 000 bytes each at 1 byte/us: the second waits for the first.
  expect(near.arrivalsUs[0] - beginUs).toBe(1_000 + 1_000);
  expect(far.arrivalsUs[0] - beginUs).toBe(2_000 + 50_000);
  expect(shared.link.statistics.queueMaxBytes).toBe(2_000);
});
