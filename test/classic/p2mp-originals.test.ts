/** godwit against stand-ins for the original point-to-multipoint programs, in both roles. */
import { expect, test } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { P2mpReceiver } from "../../src/classic/p2mp/receiver.ts";
import { P2mpSender } from "../../src/classic/p2mp/sender.ts";
import { ENCODINGS } from "../../src/classic/p2mp/wire.ts";
import { ClassicWorld } from "../support/classic-channel.ts";
import { memorySource, MemoryStore, patternBytes } from "../support/classic-memory.ts";
import { OriginalP2mpClient, OriginalP2mpServer } from "../support/p2mp-original.ts";

const SECOND_US = 1_000_000;
const NETWORK = { lossProbability: 0.2, duplicateProbability: 0.1, delayUs: [100, 30_000] } as const;
const encoding = ENCODINGS.ascii;

test.each([10, 101, 500, 2_040])(
  "godwit sender with MSS %d, three original servers, a bad network",
  (segmentBytes) => {
    const content = patternBytes(segmentBytes * 12 + 3);
    for (let seed = 1; seed <= 5; seed++) {
      const world = new ClassicWorld({ ...NETWORK, seed });
      const servers = [1, 2, 3].map(() => new OriginalP2mpServer());
      const receivers = servers.map((_, i) => `192.0.2.${i + 1}:7735`);
      for (const [i, server] of servers.entries()) world.add(receivers[i], server);
      const sender = new P2mpSender({ encoding, receivers, source: memorySource(content), segmentBytes });
      world.add("192.0.2.9:40000", sender);
      world.run(600 * SECOND_US, () => sender.outcome !== undefined);
      expect(sender.outcome).toEqual({ result: "complete" });
      for (const server of servers) expect(Buffer.from(server.chunks)).toEqual(Buffer.from(content));
    }
  },
);

test.each([10, 101, 500, 2_040])(
  "original client with MSS %d, godwit receiver that loses 0.3 on purpose",
  (segmentBytes) => {
    const content = patternBytes(segmentBytes * 12 + 3);
    for (let seed = 1; seed <= 5; seed++) {
      const world = new ClassicWorld({ ...NETWORK, seed });
      const store = new MemoryStore();
      const random = new SeededRandom(seed, "loss");
      const createSink = (): ReturnType<MemoryStore["create"]> => store.create("out");
      const receiver = new P2mpReceiver({
        encoding,
        createSink,
        lossProbability: 0.3,
        random: () => random.float(),
      });
      const client = new OriginalP2mpClient("192.0.2.1:7735", content, segmentBytes);
      world.add("192.0.2.1:7735", receiver);
      world.add("192.0.2.9:40000", client);
      expect(world.run(600 * SECOND_US)).toBe(true);
      expect(client.outcome).toEqual({ result: "complete" });
      expect(receiver.outcome?.result).toBe("probably-complete");
      expect(store.files.get("out")).toEqual(Buffer.from(content));
      // The original answers a wrong acknowledgement at once; one answer a packet keeps that from growing.
      expect(world.sent.length).toBeLessThan(20 * 13);
    }
  },
);

test("a godwit receiver that has its file does not start a storm with a second original client", () => {
  const store = new MemoryStore();
  const world = new ClassicWorld();
  const createSink = (): ReturnType<MemoryStore["create"]> => store.create("out");
  const receiver = new P2mpReceiver({
    encoding,
    createSink,
    lossProbability: 0,
    random: () => 0.5,
    expectedBytes: 30,
  });
  world.add("192.0.2.1:7735", receiver);
  world.add("192.0.2.9:40000", new OriginalP2mpClient("192.0.2.1:7735", patternBytes(30), 10));
  world.run(SECOND_US);
  const before = world.sent.length;
  world.add("192.0.2.9:40001", new OriginalP2mpClient("192.0.2.1:7735", patternBytes(30, 5), 10));
  world.run(60 * SECOND_US, () => receiver.outcome !== undefined);
  expect(receiver.outcome).toEqual({ result: "complete" });
  // Five seconds in which the client asks on its timer: a packet, an answer and a packet every 0.1 s.
  expect(world.nowUs).toBeLessThan(6 * SECOND_US);
  expect(world.sent.length - before).toBeLessThan(5 * 10 * 3 + 5);
  expect(store.files.get("out")).toEqual(Buffer.from(patternBytes(30)));
});

test("a godwit receiver started in the middle of a transfer answers 0, and that starts no storm either", () => {
  const world = new ClassicWorld();
  const createSink = (): ReturnType<MemoryStore["create"]> => new MemoryStore().create("out");
  const client = new OriginalP2mpClient("192.0.2.1:7735", patternBytes(100), 10);
  world.add("192.0.2.1:7735", new OriginalP2mpServer());
  world.add("192.0.2.9:40000", client);
  world.run(SECOND_US, () => world.sent.length === 5);
  world.add(
    "192.0.2.1:7735",
    new P2mpReceiver({ encoding, createSink, lossProbability: 0, random: () => 0.5 }),
  );
  const before = world.sent.length;
  world.run(world.nowUs + 2 * SECOND_US);
  expect(client.outcome).toBeUndefined();
  expect(world.sent.length - before).toBeLessThan(2 * 10 * 3 + 5);
});
