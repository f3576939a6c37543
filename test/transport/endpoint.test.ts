import { describe, expect, test } from "vitest";
import type { LinkConfig } from "../../src/sim/link-config.ts";
import { PacketBatch } from "../../src/wire/batch.ts";
import { World } from "../../src/sim/world.ts";
import type { Connection } from "../../src/transport/connection.ts";
import type { Endpoint, EndpointOptions } from "../../src/transport/endpoint.ts";
import { OPEN, startEndpoint } from "./endpoint-world.ts";
import { MemorySink, MemorySource, patternBytes } from "./memory-objects.ts";

interface Setup {
  readonly world: World;
  readonly client: Endpoint;
  readonly server: Endpoint;
  readonly dialled: Connection;
  readonly accepted: () => Connection | undefined;
}

function setup(
  link: Partial<LinkConfig>,
  seed = 1,
  serverOptions: Partial<EndpointOptions> = { accept: OPEN },
): Setup {
  const world = new World(seed);
  const a = world.addHost("a");
  const b = world.addHost("b");
  world.connect(a, b, link);
  const client = startEndpoint(a);
  const server = startEndpoint(b, serverOptions);
  const dialled = client.connect({ address: b.publicAddress, verifyPeer: () => undefined }, world.nowUs);
  const taken: Connection[] = [];
  return {
    world,
    client,
    server,
    dialled,
    accepted: () => {
      taken.push(...server.takeAccepted());
      return taken[0];
    },
  };
}

/** Milliseconds of virtual time until the condition holds. */
function elapsed(world: World, limitMs: number, isDone: () => boolean): number {
  const startUs = world.nowUs;
  return world.run(startUs + limitMs * 1_000, isDone) === "done" ? (world.nowUs - startUs) / 1_000 : Infinity;
}

describe("opening a connection", () => {
  test("what is written at once arrives behind FINISH, after one and a half round trips", () => {
    const { world, dialled, accepted } = setup({ delayUs: 50_000 });
    const id = dialled.openStream();
    dialled.writeStream(id, patternBytes(1, 100), true);
    // INIT, REPLY, FINISH with the stream right behind it: 3 x 50 ms.
    const hasArrived = (): boolean => (accepted()?.takeReadableStreams().length ?? 0) > 0;
    expect(elapsed(world, 5_000, hasArrived)).toBe(150);
    expect(accepted()?.readStream(id)).toEqual(patternBytes(1, 100));
    expect(dialled.state).toBe("established");
    expect(accepted()?.peerIdentity).toHaveLength(32);
    expect(Buffer.from(dialled.handshakeHash!).equals(accepted()!.handshakeHash!)).toBe(true);
    const types = dialled.takeEvents().map(({ type }) => type);
    expect(types.slice(0, 5)).toEqual([
      "handshake-started",
      "handshake-packet-sent",
      "handshake-packet-received",
      "handshake-completed",
      "handshake-packet-sent",
    ]);
  });

  test("30 % loss each way: 50 of 50 connect, half of them within 1.5 s at 30 ms", () => {
    const took: number[] = [];
    for (let seed = 1; seed <= 50; seed++) {
      const { world, dialled, accepted } = setup({ delayUs: 15_000, lossProbability: 0.3 }, seed);
      took.push(elapsed(world, 10_000, () => dialled.state === "established" && accepted() !== undefined));
    }
    took.sort((a, b) => a - b);
    expect(took[49]).toBeLessThan(10_000);
    expect(took[24]).toBeLessThan(1_500);
  });

  test("a peer that is not trusted learns why", () => {
    const { world, dialled, accepted } = setup({ delayUs: 10_000 }, 1, {
      accept: { verifyPeer: () => "UNKNOWN_PEER" },
    });
    elapsed(world, 5_000, () => dialled.state !== "handshaking" && dialled.state !== "established");
    expect(dialled.closeReason?.code).toBe("UNKNOWN_PEER");
    expect(accepted()).toBeUndefined();
  });

  test("nobody there: HANDSHAKE_TIMEOUT after 10 s", () => {
    const { world, dialled, client } = setup({ delayUs: 10_000, lossProbability: 1 });
    const tookMs = elapsed(world, 60_000, () => dialled.state === "closed");
    expect(dialled.closeReason?.code).toBe("HANDSHAKE_TIMEOUT");
    expect(tookMs).toBeGreaterThanOrEqual(10_000);
    expect(tookMs).toBeLessThan(10_100);
    expect(client.connections).toHaveLength(0);
  });

  test("over the limit: busy, and the peer is told", () => {
    const world = new World(1);
    const b = world.addHost("b");
    const server = startEndpoint(b, { accept: { ...OPEN, connections: 3 } });
    const dialled: Connection[] = [];
    for (let i = 0; i < 5; i++) {
      const a = world.addHost(`a${i}`);
      world.connect(a, b, { delayUs: 10_000 + i });
      dialled.push(startEndpoint(a).connect({ address: b.publicAddress, ...OPEN }, world.nowUs));
    }
    world.runFor(1_000_000);
    expect(server.takeAccepted()).toHaveLength(3);
    expect(dialled.map(({ closeReason }) => closeReason?.code)).toEqual([
      undefined,
      undefined,
      undefined,
      "BUSY",
      "BUSY",
    ]);
  });

  test("one peer may hold so many connections and no more", () => {
    const world = new World(1);
    const a = world.addHost("a");
    const b = world.addHost("b");
    world.connect(a, b, { delayUs: 10_000 });
    const server = startEndpoint(b, { accept: { ...OPEN, connectionsPerPeer: 2 } });
    const client = startEndpoint(a);
    const dialled = [1, 2, 3].map(() => client.connect({ address: b.publicAddress, ...OPEN }, world.nowUs));
    world.runFor(1_000_000);
    expect(server.takeAccepted()).toHaveLength(2);
    expect(dialled.filter(({ closeReason }) => closeReason?.code === "BUSY")).toHaveLength(1);
  });
});

test("file data in the first flight waits until the application said where it goes", () => {
  const { world, dialled, accepted } = setup({ delayUs: 50_000 });
  const bytes = patternBytes(3, 3_000);
  const source = new MemorySource();
  source.add(1, bytes);
  dialled.setObjectSource(source);
  const sink = new MemorySink();
  sink.expect(1, bytes.length);
  const tookMs = elapsed(world, 5_000, () => {
    accepted()?.setObjectSink(sink);
    accepted()?.takeReadableStreams();
    return sink.isComplete(1);
  });
  expect(tookMs).toBe(150);
  expect(sink.holds(1, bytes)).toBe(true);
  expect(accepted()?.state).toBe("established");
});

test("connections take turns when the batch is smaller than what they have", () => {
  const world = new World(1);
  const a = world.addHost("a");
  const b = world.addHost("b");
  world.connect(a, b, { delayUs: 10_000 });
  startEndpoint(b, { accept: OPEN });
  const client = startEndpoint(a);
  const dialled = [0, 1, 2].map(() => client.connect({ address: b.publicAddress, ...OPEN }, world.nowUs));
  world.runFor(1_000_000);
  for (const connection of dialled) {
    const source = new MemorySource();
    source.add(1, new Uint8Array(1_000_000));
    connection.setObjectSource(source);
  }
  const served = [1, 2, 3].map(() => {
    const batch = new PacketBatch(2, 10_000);
    client.pollTransmit(batch, world.nowUs);
    expect(batch.count).toBe(2);
    return batch.bytes.slice(1, 9).join(" ");
  });
  expect(new Set(served).size).toBe(3);
});

test("200 connections share one socket, each moves its data, and all ids go back", () => {
  const world = new World(2);
  const b = world.addHost("b");
  const bottleneck = world.addLink("to b", { rateBytesPerSecond: 10_000_000, queueBytes: 10_000_000 });
  const server = startEndpoint(b, { accept: OPEN });
  // Four connections from each of fifty hosts: a host may begin five at once.
  const hosts = Array.from({ length: 50 }, (_, i) => world.addHost(`a${i}`));
  const clients = hosts.map((host) => {
    const [there, back] = world.connect(host, b, { delayUs: 10_000 });
    world.route(host, b, [there, bottleneck]);
    world.route(b, host, [back]);
    return startEndpoint(host);
  });
  const sources: MemorySource[] = [];
  const dialled = Array.from({ length: 200 }, (_, i) => {
    const connection = clients[i % 50].connect({ address: b.publicAddress, ...OPEN }, world.nowUs);
    const source = new MemorySource();
    source.add(1, patternBytes(i, 20_000));
    connection.setObjectSource(source);
    sources.push(source);
    return connection;
  });
  const sinks: MemorySink[] = [];
  const accepted: Connection[] = [];
  // 4 MB at 10 MB/s: 400 ms, and the handshakes.
  const tookMs = elapsed(world, 60_000, () => {
    for (const connection of server.takeAccepted()) {
      const sink = new MemorySink();
      sink.expect(1, 20_000);
      connection.setObjectSink(sink);
      sinks.push(sink);
      accepted.push(connection);
    }
    return sources.every((source) => source.isDelivered);
  });
  expect(tookMs).toBeLessThan(3_000);
  expect(sinks.filter((sink) => sink.isComplete(1))).toHaveLength(200);
  for (const connection of dialled) connection.close(undefined, "", world.nowUs);
  for (const host of hosts) host.poke();
  world.runFor(10_000_000);
  expect(clients.flatMap(({ connections }) => connections)).toHaveLength(0);
  expect(server.connections).toHaveLength(0);
});

test("junk of any kind at an endpoint makes no connection, and no answer larger than what came", () => {
  const world = new World(4);
  const a = world.addHost("a");
  const b = world.addHost("b");
  const [there] = world.connect(a, b, { delayUs: 1_000 });
  const server = startEndpoint(b, { accept: OPEN });
  let sentBytes = 0;
  let answeredBytes = 0;
  world.watch((datagram) => void (answeredBytes += datagram.length));
  const random = world.random("junk");
  for (let i = 0; i < 2_000; i++) {
    const junk = random.bytes(new Uint8Array(random.integer(0, 1_400)));
    if (junk.length > 0 && i % 2 === 0) junk[0] = random.pick([0x40, 0x44, 0xc0, 0xc1, 0xc2, 0xc8]);
    sentBytes += junk.length;
    world.inject(junk, a.publicAddress, b.publicAddress, [there]);
    world.runFor(100);
  }
  world.runFor(15_000_000);
  // VERSIONS packets of 25 bytes in answer to what looks like a first packet of another version.
  expect(answeredBytes).toBeLessThan(sentBytes / 50);
  expect(server.connections).toHaveLength(0);
});
