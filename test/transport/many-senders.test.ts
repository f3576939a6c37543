/** A hundred senders behind one address, to one server, over one bottleneck. */
import { expect, test } from "vitest";
import { World } from "../../src/sim/world.ts";
import { OPEN, startEndpoint } from "./endpoint-world.ts";
import { MemorySink, MemorySource, patternBytes } from "./memory-objects.ts";

/**
 * `count` senders with `totalBytes` between them, over 10 MB/s and 20 ms with 1 MB of queue: when each
 * knew that all had arrived, in seconds, ascending.
 */
function run(count: number, totalBytes: number): number[] {
  const world = new World(11);
  const a = world.addHost("a");
  const b = world.addHost("b");
  world.connect(a, b, {
    delayUs: 10_000,
    rateBytesPerSecond: 10_000_000,
    queueBytes: 1_000_000,
  });
  const server = startEndpoint(b, { accept: { ...OPEN, connectionsPerPeer: 100 } });
  const client = startEndpoint(a);
  const bytes = patternBytes(1, totalBytes / count);
  const startUs = world.nowUs;
  const sources = Array.from({ length: count }, () => {
    const source = new MemorySource();
    source.add(1, bytes);
    client.connect({ address: b.publicAddress, ...OPEN }, world.nowUs).setObjectSource(source);
    return source;
  });
  const sinks: MemorySink[] = [];
  const open = new Set(sources);
  const doneAt: number[] = [];
  const end = world.run(startUs + 60_000_000, () => {
    for (const connection of server.takeAccepted()) {
      const sink = new MemorySink();
      sink.expect(1, bytes.length);
      connection.setObjectSink(sink);
      sinks.push(sink);
    }
    for (const source of open) {
      if (!source.isDelivered) continue;
      open.delete(source);
      doneAt.push((world.nowUs - startUs) / 1e6);
    }
    return open.size === 0;
  });
  expect(end).toBe("done");
  expect(sinks.filter((sink) => sink.holds(1, bytes))).toHaveLength(count);
  return doneAt;
}

test("all come in at once and fill the path as one does; nearly all end within twice their fair time", () => {
  const totalBytes = 16_000_000;
  const [alone] = run(1, totalBytes);
  const doneAt = run(100, totalBytes);
  // Ninety of them moved 90 % of it at 80 % of the rate of one, or faster.
  expect(doneAt[89]).toBeLessThan((0.9 * alone) / 0.8);
  // Fair: all get the same share, and end together after the time that one needs for all of it.
  expect(doneAt[94]).toBeLessThan(2 * alone);
  // A few whose handshake met the first burst of all others come later, but they come.
  expect(doneAt[99]).toBeLessThan(5 * alone);
});
