/** godwit against stand-ins for the original chunks programs, in both roles. */
import { describe, expect, test } from "vitest";
import { ChunksClient } from "../../src/classic/chunks/client.ts";
import { EDITIONS } from "../../src/classic/chunks/edition.ts";
import { ChunksServer } from "../../src/classic/chunks/server.ts";
import { ClassicWorld } from "../support/classic-channel.ts";
import type { ChannelOptions } from "../support/classic-channel.ts";
import { memorySource, MemoryStore, patternBytes } from "../support/classic-memory.ts";
import { OriginalChunksClient, OriginalChunksServer } from "../support/chunks-original.ts";

const SERVER = "192.0.2.1:12300";
const CLIENT = "192.0.2.2:50000";
const MINUTES_US = 600_000_000;
const edition = EDITIONS.f22;

/** What bad_server and bad_client keep back, counted from 1. */
const BAD_SERVER = new Set([5, 8, 38, 65, 67, 73, 87, 127, 152, 177, 210, 211, 218, 239]);
const BAD_CLIENT = new Set([2, 4, 10, 53, 60, 101, 113, 131, 140, 146, 185]);

const LOSSY: ChannelOptions = { lossProbability: 0.05 };

describe("original client, godwit server", () => {
  test.each([1, 1_016, 6_000, 50_000])("%d bytes from good_client", (size) => {
    const store = new MemoryStore();
    const world = new ClassicWorld();
    const client = new OriginalChunksClient(SERVER, patternBytes(size), "out.dat");
    world.add(SERVER, new ChunksServer({ edition, store }));
    world.add(CLIENT, client);
    world.run(MINUTES_US, () => client.outcome !== undefined);
    expect(client.outcome).toEqual({ result: "complete" });
    expect(store.files.get("out.dat")).toEqual(Buffer.from(patternBytes(size)));
  });

  test.each([1_000, 6_000, 100_000])("%d bytes from bad_client, numbers from 39", (size) => {
    const store = new MemoryStore();
    const world = new ClassicWorld();
    const client = new OriginalChunksClient(SERVER, patternBytes(size), "out.dat", 39, (one) =>
      BAD_CLIENT.has(one),
    );
    world.add(SERVER, new ChunksServer({ edition, store }));
    world.add(CLIENT, client);
    world.run(MINUTES_US, () => client.outcome !== undefined);
    expect(client.outcome).toEqual({ result: "complete" });
    expect(store.files.get("out.dat")).toEqual(Buffer.from(patternBytes(size)));
  });

  test("on a lossy network the original is told the truth: success always means the file", () => {
    let successes = 0;
    for (let seed = 1; seed <= 40; seed++) {
      const store = new MemoryStore();
      const world = new ClassicWorld({ ...LOSSY, seed });
      const client = new OriginalChunksClient(SERVER, patternBytes(10_000), "out.dat");
      world.add(SERVER, new ChunksServer({ edition, store }));
      world.add(CLIENT, client);
      world.run(MINUTES_US, () => client.outcome !== undefined);
      const file = store.files.get("out.dat");
      if (file !== undefined) expect(file).toEqual(Buffer.from(patternBytes(10_000)));
      if (client.outcome?.result !== "complete") continue;
      successes++;
      expect(file).toBeDefined();
    }
    // Five tries at 10 % of lost exchanges: all but one in 10^4 transfers of 11 messages.
    expect(successes).toBe(40);
  });
});

describe("godwit client, original server", () => {
  const send = (size: number, server: OriginalChunksServer, channel: ChannelOptions = {}): ChunksClient => {
    const world = new ClassicWorld(channel);
    const client = new ChunksClient({
      edition,
      server: SERVER,
      source: memorySource(patternBytes(size)),
      remoteName: "out.dat",
    });
    world.add(SERVER, server);
    world.add(CLIENT, client);
    world.run(MINUTES_US, () => client.outcome !== undefined);
    return client;
  };

  test.each([0, 1, 1_016, 6_000, 50_000])("%d bytes to good_server; also an empty file appears", (size) => {
    const server = new OriginalChunksServer();
    expect(send(size, server).outcome).toEqual({ result: "complete" });
    expect(server.files.get("out.dat")).toEqual(Buffer.from(patternBytes(size)));
  });

  test.each([1_000, 4_500, 6_000, 9_000, 100_000])(
    "%d bytes to bad_server: complete or probably, never a failure",
    (size) => {
      const server = new OriginalChunksServer((one) => BAD_SERVER.has(one));
      expect(["complete", "probably-complete"]).toContain(send(size, server).outcome?.result);
      expect(server.files.get("out.dat")).toEqual(Buffer.from(patternBytes(size)));
    },
  );

  test("6000 bytes to bad_server, whose sixth data acknowledgement is lost: probably complete", () => {
    // Attempts: 1 start, 2 to 4 chunks 1 to 3, 5 (kept back) and 6 chunk 4, 7 chunk 5, 8 (kept back) chunk 6.
    const server = new OriginalChunksServer((one) => BAD_SERVER.has(one));
    expect(send(6_000, server).outcome?.result).toBe("probably-complete");
  });

  test("loss, duplication and reordering: what is called complete is the file", () => {
    for (let seed = 1; seed <= 40; seed++) {
      const server = new OriginalChunksServer();
      const channel = {
        seed,
        lossProbability: 0.05,
        duplicateProbability: 0.2,
        delayUs: [100, 30_000] as const,
      };
      const client = send(10_000, server, channel);
      const file = server.files.get("out.dat");
      if (file !== undefined) expect(file).toEqual(Buffer.from(patternBytes(10_000)));
      if (client.outcome?.result === "complete") expect(file).toBeDefined();
      else expect(client.outcome?.result).toBe("probably-complete");
    }
  });
});
