import { expect, test } from "vitest";
import { HEALED } from "../../src/sim/link-config.ts";
import type { LinkConfig } from "../../src/sim/link-config.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { World } from "../../src/sim/world.ts";
import type { Connection } from "../../src/transport/connection.ts";
import { OPEN, startEndpoint } from "./endpoint-world.ts";
import { MemorySink, MemorySource, patternBytes } from "./memory-objects.ts";

/** A random subset of faults for one direction. */
function faults(random: SeededRandom): Partial<LinkConfig> {
  const some = (probability: number, low: number, high: number): number =>
    random.chance(probability) ? low + random.float() * (high - low) : 0;
  return {
    delayUs: Math.round(some(0.9, 500, 150_000)),
    rateBytesPerSecond: Math.round(some(0.8, 200_000, 10_000_000)),
    queueBytes: random.chance(0.3) ? random.integer(20_000, 100_000) : 0,
    mtuBytes: random.chance(0.3) ? random.integer(1_200, 1_500) : 0,
    jitterUs: Math.round(some(0.3, 100, 30_000)),
    lossProbability: some(0.5, 0, 0.25),
    reorderProbability: some(0.4, 0, 0.5),
    reorderDelayUs: random.integer(1_000, 60_000),
    duplicateProbability: some(0.3, 0, 0.2),
    corruptProbability: some(0.3, 0, 0.1),
    truncateProbability: some(0.2, 0, 0.05),
    replayProbability: some(0.2, 0, 0.1),
    junkProbability: some(0.2, 0, 0.05),
    blackholes: random.chance(0.3) ? [{ fromUs: 500_000, untilUs: random.integer(600_000, 8_000_000) }] : [],
  };
}

/** One whole life of a connection under faults; throws if anything is not as it should be. */
function run(seed: number): void {
  const random = new SeededRandom(seed, "swarm");
  const world = new World(seed);
  const a = world.addHost("a");
  const b = world.addHost("b");
  const links = world.connect(a, b, faults(random), faults(random));
  const keyLimits = {
    updatePackets: random.chance(0.5) ? random.integer(50, 400) : 1e9,
    confidentialityPackets: 1e9,
    integrityPackets: 1e9,
  };
  const config = {
    keyLimits,
    keepAliveUs: 2_000_000,
    receiveWindowBytes: random.pick([20_000, 200_000, 4_000_000]),
  };
  const server = startEndpoint(b, { accept: OPEN, config });
  const client = startEndpoint(a, { config });

  const sources = [new MemorySource(), new MemorySource()];
  const sinks = [new MemorySink(), new MemorySink()];
  const objects = Array.from({ length: random.integer(1, 8) }, (_, i) =>
    patternBytes(seed * 10 + i, random.pick([1, 700, 5_000, 60_000, 400_000])),
  );
  const messages = patternBytes(seed, random.pick([10, 3_000, 100_000]));
  let dialled = client.connect({ address: b.publicAddress, ...OPEN }, world.nowUs);
  let accepted: Connection | undefined;
  let id = 0;
  const begin = (): void => {
    dialled.setObjectSource(sources[0]);
    dialled.setObjectSink(sinks[0]);
    id = dialled.openStream();
    writtenBytes = 0;
  };
  let writtenBytes = 0;
  const read: Uint8Array[] = [];
  objects.forEach((bytes, object) => {
    sources[object % 2].add(object, bytes);
    sinks[1 - (object % 2)].expect(object, bytes.length);
  });
  begin();
  sinks[0].handleNew = (count, nowUs) => dialled.consumeObjectBytes(count, nowUs);
  sinks[1].handleNew = (count, nowUs) => accepted?.consumeObjectBytes(count, nowUs);

  const step = (): boolean => {
    // Only a handshake may fail, and only because its deadline passed: then it is begun anew.
    if (dialled.state === "closed" && accepted === undefined) {
      expect(["HANDSHAKE_TIMEOUT"]).toContain(dialled.closeReason?.code);
      dialled = client.connect({ address: b.publicAddress, ...OPEN }, world.nowUs);
      begin();
      a.poke();
    }
    for (const connection of server.takeAccepted()) {
      accepted = connection;
      connection.setObjectSource(sources[1]);
      connection.setObjectSink(sinks[1]);
      b.poke();
    }
    if (writtenBytes < messages.length) {
      writtenBytes += dialled.writeStream(id, messages.subarray(writtenBytes), true);
    }
    if (accepted !== undefined && accepted.takeReadableStreams().length > 0) {
      const bytes = accepted.readStream(id);
      if (bytes !== undefined) read.push(bytes);
      b.poke();
    }
    expect([dialled.closeReason?.message, accepted?.closeReason?.message]).toEqual([undefined, undefined]);
    return accepted?.isStreamFinished(id) === true && sources[0].isDelivered && sources[1].isDelivered;
  };
  // First everything goes wrong, with moves in between; then all is well and it must end.
  // Only one side moves: when both do in the dark, neither can know where the other is.
  const mover = random.pick([a, b]);
  for (let i = 0; i < 3; i++) {
    world.run(world.nowUs + random.integer(200_000, 4_000_000), step);
    if (accepted === undefined || dialled.takeEvents().every(({ type }) => type !== "handshake-confirmed"))
      continue;
    if (random.chance(0.4)) mover.rebind();
    if (random.chance(0.3)) mover.move();
  }
  for (const link of links) link.configure({ ...HEALED, mtuBytes: 0 });
  const verdict = world.run(world.nowUs + 120_000_000, step);
  const facts = (connection: Connection | undefined): unknown => connection?.statistics(world.nowUs);
  if (verdict !== "done")
    throw new Error(
      `seed ${seed}: ${verdict} ${JSON.stringify([facts(dialled), facts(accepted)], undefined, 1)}`,
    );
  expect(Buffer.concat(read).equals(messages)).toBe(true);
  objects.forEach((bytes, object) => expect(sinks[1 - (object % 2)].holds(object, bytes)).toBe(true));
  // Windows agree: nothing is held that was consumed.
  expect([dialled.heldObjectBytes, accepted?.heldObjectBytes]).toEqual([0, 0]);
}

const first = Number(process.env["SEED"] ?? 1);
const count = Number(process.env["SEEDS"] ?? (process.env["SEED"] === undefined ? 60 : 1));

test(`${count} connections through swarms of faults, from seed ${first}`, { timeout: 3_600_000 }, () => {
  for (let seed = first; seed < first + count; seed++) {
    try {
      run(seed);
    } catch (error) {
      throw new Error(`SEED=${seed} npx vitest run test/transport/swarm.test.ts`, { cause: error });
    }
  }
});
