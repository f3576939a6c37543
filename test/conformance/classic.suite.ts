/**
 * What every classic datagram system must do, whatever its wire: transfers on a clean and on a bad
 * network, garbage, silence, stopping. Run by the tests in test/classic/.
 */
import { describe, expect, test } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import type { ClassicMachine } from "../../src/classic/machine.ts";
import { patternBytes } from "../support/classic-memory.ts";
import { ClassicWorld } from "../support/classic-channel.ts";
import type { ChannelOptions } from "../support/classic-channel.ts";

/** Addresses of the two ends in the suite. */
export const SERVER = "192.0.2.1:7000";
/** See `SERVER`. */
export const CLIENT = "192.0.2.2:50000";

/** Both ends of one transfer between `SERVER` and `CLIENT`. */
interface ClassicPair {
  readonly server: ClassicMachine;
  readonly client: ClassicMachine;
  /** What was published under a final name at the receiving end, `undefined` if nothing was. */
  readonly published: () => Uint8Array | undefined;
  /** Staging files that were neither published nor thrown away. */
  readonly openSinks: () => number;
}

/** A system as the suite needs it. */
export interface ClassicSystem {
  readonly name: string;
  /** Makes both ends for a transfer of `content`. The server ends by itself after one transfer. */
  readonly create: (content: Uint8Array, random: SeededRandom) => ClassicPair;
  /** Sizes worth testing on a clean network, in bytes. */
  readonly sizes: readonly number[];
  /** Size for the bad networks, in bytes. */
  readonly badNetworkBytes: number;
  /** Bad networks that the wire cannot survive with a correct file, each with the reason. */
  readonly unsafe?: Readonly<Partial<Record<NetworkName, string>>>;
  /** Virtual time by which any transfer has ended one way or the other, in microseconds. */
  readonly limitUs: number;
  /** Whether the wire lets the client be sure on a clean network: then its outcome must be `complete`. */
  readonly clientConfirms?: boolean;
  /** Runs of each bad network. Default 30. */
  readonly seeds?: number;
}

/** The bad networks of the suite. */
export type NetworkName = keyof typeof NETWORKS;

const NETWORKS = {
  "loss 0.05": { lossProbability: 0.05 },
  "loss 0.3": { lossProbability: 0.3 },
  duplication: { duplicateProbability: 0.3 },
  "duplication and loss": { duplicateProbability: 0.2, lossProbability: 0.1 },
  reordering: { duplicateProbability: 0.2, lossProbability: 0.05, delayUs: [100, 40_000] },
} as const satisfies Record<string, ChannelOptions>;

/** Declares the tests. */
export function describeClassicSystem(system: ClassicSystem): void {
  const start = (
    content: Uint8Array,
    options: ChannelOptions,
  ): { world: ClassicWorld; pair: ClassicPair } => {
    const pair = system.create(content, new SeededRandom(options.seed ?? 1, system.name));
    const world = new ClassicWorld(options);
    world.add(SERVER, pair.server);
    world.add(CLIENT, pair.client);
    return { world, pair };
  };

  /** Runs to the end. A server may wait on for a transfer only if the client has failed; then it is stopped. */
  const settle = (world: ClassicWorld, pair: ClassicPair, label: string): void => {
    if (!world.run(system.limitUs)) {
      expect(pair.client.outcome, `${label}: the client ends`).toMatchObject({ result: "failed" });
      pair.server.handleStop(world.nowUs);
    }
    expect(pair.openSinks(), `${label}: staging files`).toBe(0);
  };

  describe(system.name, () => {
    test.each(system.sizes)("%d bytes on a clean network", (size) => {
      const content = patternBytes(size);
      const { world, pair } = start(content, {});
      expect(world.run(system.limitUs)).toBe(true);
      expect(pair.client.outcome).not.toMatchObject({ result: "failed" });
      if (system.clientConfirms === true) expect(pair.client.outcome).toEqual({ result: "complete" });
      expect(pair.server.outcome).not.toMatchObject({ result: "failed" });
      expect(Buffer.from(pair.published() ?? []).equals(content)).toBe(true);
      expect(pair.published()).toBeDefined();
      expect(pair.openSinks()).toBe(0);
    });

    for (const name of Object.keys(NETWORKS) as NetworkName[]) {
      const reason = system.unsafe?.[name];
      test(`${name}: ${reason ?? "a correct file or an honest failure"}`, () => {
        const content = patternBytes(system.badNetworkBytes);
        for (let seed = 1; seed <= (system.seeds ?? 30); seed++) {
          const { world, pair } = start(content, { ...NETWORKS[name], seed });
          settle(world, pair, `seed ${seed}`);
          if (reason !== undefined) continue;
          const published = pair.published();
          if (published !== undefined)
            expect(Buffer.from(published).equals(content), `seed ${seed}: published contents`).toBe(true);
          if (pair.client.outcome?.result === "complete" || pair.server.outcome?.result === "complete")
            expect(published, `seed ${seed}: complete means published`).toBeDefined();
        }
      });
    }

    test("nobody there: the client gives up with a failure", () => {
      const { world, pair } = start(patternBytes(100), {});
      world.remove(SERVER);
      expect(world.run(system.limitUs, () => pair.client.outcome !== undefined)).toBe(true);
      expect(pair.client.outcome).toMatchObject({ result: "failed" });
    });

    test("stopping at any moment leaves no staging file", () => {
      const content = patternBytes(system.badNetworkBytes);
      for (let datagrams = 0; datagrams < 12; datagrams++) {
        const { world, pair } = start(content, {});
        world.run(system.limitUs, () => world.sent.length >= datagrams);
        pair.server.handleStop(world.nowUs);
        pair.client.handleStop(world.nowUs);
        expect(pair.server.outcome).toBeDefined();
        expect(pair.client.outcome).toBeDefined();
        expect(pair.openSinks()).toBe(0);
      }
    });

    test("garbage from strangers: no crash, no hang, no wrong file", () => {
      const content = patternBytes(system.badNetworkBytes);
      for (let seed = 1; seed <= 10; seed++) {
        const { world, pair } = start(content, { seed });
        const random = new SeededRandom(seed, "garbage");
        const stranger = "198.51.100.7:4000";
        for (let i = 0; i < 300; i++) {
          world.inject(stranger, SERVER, garbage(random, world), random.integer(0, 3_000_000));
          world.inject(stranger, CLIENT, garbage(random, world), random.integer(0, 3_000_000));
        }
        settle(world, pair, `seed ${seed}`);
        const published = pair.published();
        if (published !== undefined)
          expect(Buffer.from(published).equals(content), `seed ${seed}`).toBe(true);
      }
    });

    test("any bytes from the peer itself never throw and never keep it from ending", () => {
      for (let seed = 1; seed <= 10; seed++) {
        const { world, pair } = start(patternBytes(system.badNetworkBytes), { seed });
        const random = new SeededRandom(seed, "hostile-peer");
        world.run(system.limitUs, () => world.sent.length >= 4);
        for (let i = 0; i < 300; i++) {
          const toServer = random.chance(0.5);
          const bytes = garbage(random, world);
          const atUs = world.nowUs + i;
          if (toServer && pair.server.outcome === undefined) pair.server.handleDatagram(bytes, CLIENT, atUs);
          if (!toServer && pair.client.outcome === undefined) pair.client.handleDatagram(bytes, SERVER, atUs);
        }
        settle(world, pair, `seed ${seed}`);
      }
    });

    test("the same seed gives the same datagrams", () => {
      const wire = (): string[] => {
        const { world } = start(patternBytes(system.badNetworkBytes), { seed: 7, lossProbability: 0.1 });
        world.run(system.limitUs);
        return world.sent.map((one) => `${one.atUs} ${one.from} ${Buffer.from(one.bytes).toString("hex")}`);
      };
      expect(wire()).toEqual(wire());
    });
  });
}

/** Random bytes, or a datagram of this world cut, flipped or lengthened. */
function garbage(random: SeededRandom, world: ClassicWorld): Uint8Array {
  if (world.sent.length === 0 || random.chance(0.3))
    return random.bytes(new Uint8Array(random.integer(0, 80)));
  const bytes = random.pick(world.sent).bytes.slice(0, 4_096);
  switch (random.integer(0, 2)) {
    case 0:
      return bytes.slice(0, random.integer(0, bytes.length));
    case 1:
      if (bytes.length > 0) bytes[random.integer(0, bytes.length - 1)] ^= 1 << random.integer(0, 7);
      return bytes;
    default:
      return Buffer.concat([bytes, random.bytes(new Uint8Array(random.integer(1, 40)))]);
  }
}
