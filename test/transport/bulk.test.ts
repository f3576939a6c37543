/** Packets that are written and read in runs are those that are written and read one by one. */
import { expect, test } from "vitest";
import { World } from "../../src/sim/world.ts";
import { OPEN, startEndpoint } from "./endpoint-world.ts";
import { MemorySink, MemorySource, patternBytes } from "./memory-objects.ts";

const SIZES = [3_000_000, 262_144, 70_001, 1];

/** Moves some objects over a path; who wants to hear of single packets has them handled one by one. */
function run(loss: number, isOneByOne: boolean): unknown {
  const world = new World(7);
  const a = world.addHost("a");
  const b = world.addHost("b");
  world.connect(a, b, {
    delayUs: 5_000,
    rateBytesPerSecond: 20_000_000,
    queueBytes: 200_000,
    lossProbability: loss,
    reorderProbability: loss,
    reorderDelayUs: 3_000,
  });
  const server = startEndpoint(b, { accept: OPEN });
  const client = startEndpoint(a);
  const source = new MemorySource();
  const sink = new MemorySink();
  SIZES.forEach((size, object) => {
    source.add(object, patternBytes(object, size));
    sink.expect(object, size);
  });
  const sender = client.connect({ address: b.publicAddress, ...OPEN }, world.nowUs);
  sender.setObjectSource(source);
  sender.setPacketEvents(isOneByOne);
  const sides = [sender];
  const end = world.run(world.nowUs + 60_000_000, () => {
    for (const connection of server.takeAccepted()) {
      connection.setObjectSink(sink);
      connection.setPacketEvents(isOneByOne);
      sink.handleNew = (count, nowUs) => connection.consumeObjectBytes(count, nowUs);
      sides[1] = connection;
    }
    return source.isDelivered;
  });
  expect(end).toBe("done");
  SIZES.forEach((size, object) => expect(sink.holds(object, patternBytes(object, size))).toBe(true));
  return { nowUs: world.nowUs, statistics: sides.map((side) => side.statistics(world.nowUs)) };
}

test.each([0, 0.01, 0.2])("the same packets at the same times, %d of them lost and as many late", (loss) => {
  expect(run(loss, false)).toEqual(run(loss, true));
});
