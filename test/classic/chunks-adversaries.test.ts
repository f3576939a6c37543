/** What breaks the original chunks programs: the courses' bad peers and worse, in virtual time. */
import { describe, expect, test } from "vitest";
import { GodwitError } from "../../src/base/errors.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { ChunksClient } from "../../src/classic/chunks/client.ts";
import type { ChunksClientOptions } from "../../src/classic/chunks/client.ts";
import { EDITIONS } from "../../src/classic/chunks/edition.ts";
import { ChunksServer } from "../../src/classic/chunks/server.ts";
import type { ChunksServerOptions } from "../../src/classic/chunks/server.ts";
import { ClassicWorld } from "../support/classic-channel.ts";
import type { ChannelOptions, Fate, SentDatagram } from "../support/classic-channel.ts";
import { memorySource, MemoryStore, patternBytes } from "../support/classic-memory.ts";

const SERVER = "192.0.2.1:12300";
const CLIENT = "192.0.2.2:50000";
const SECOND_US = 1_000_000;
const LOST: Fate = [];
const { f22, s23 } = EDITIONS;
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");
const startsWith = (datagram: SentDatagram, prefix: string): boolean =>
  text(datagram.bytes).startsWith(prefix);

function setUp(
  content: Uint8Array,
  channel: ChannelOptions = {},
  options: { server?: Partial<ChunksServerOptions>; client?: Partial<ChunksClientOptions> } = {},
): { world: ClassicWorld; store: MemoryStore; server: ChunksServer; client: ChunksClient } {
  const store = new MemoryStore();
  const server = new ChunksServer({ edition: f22, store, ...options.server });
  const source = memorySource(content);
  const client = new ChunksClient({
    edition: f22,
    server: SERVER,
    source,
    remoteName: "out.dat",
    ...options.client,
  });
  const world = new ClassicWorld(channel);
  world.add(SERVER, server);
  world.add(CLIENT, client);
  return { world, store, server, client };
}

function runClient(world: ClassicWorld, client: ChunksClient): void {
  expect(world.run(600 * SECOND_US, () => client.outcome !== undefined)).toBe(true);
}

describe("one lost or late datagram", () => {
  const content = patternBytes(3_000); // start, 1016 + 1016 + 968
  test.each([
    ["start", CLIENT, 0],
    ["start acknowledgement", SERVER, 0],
    ["first data", CLIENT, 1],
    ["first data acknowledgement", SERVER, 1],
    ["last data", CLIENT, 3],
    ["last acknowledgement", SERVER, 3],
  ])("%s lost: half a second later, complete", (_name, from, index) => {
    const decide = (one: SentDatagram): Fate | undefined =>
      one.from === from && one.index === index ? LOST : undefined;
    const { world, store, client } = setUp(content, { decide });
    runClient(world, client);
    expect(client.outcome).toEqual({ result: "complete" });
    expect(store.files.get("out.dat")).toEqual(Buffer.from(content));
    expect(world.nowUs).toBeGreaterThan(500_000);
    expect(world.nowUs).toBeLessThan(510_000);
  });

  test("every datagram twice: nothing is sent more often for it", () => {
    const { world, store, client } = setUp(content, { decide: () => [100, 150] });
    runClient(world, client);
    expect(client.outcome).toEqual({ result: "complete" });
    expect(store.files.get("out.dat")).toEqual(Buffer.from(content));
    expect(world.sent.filter((one) => one.from === CLIENT)).toHaveLength(4);
  });

  test("a start delivered after the session is gone leaves a ghost that touches nothing", () => {
    const { world, store, client } = setUp(content);
    runClient(world, client);
    world.run(world.nowUs + 60 * SECOND_US); // the finished session is forgotten
    world.inject(CLIENT, SERVER, world.sent[0].bytes);
    world.run(world.nowUs + 60 * SECOND_US);
    expect(store.files.get("out.dat")).toEqual(Buffer.from(content));
    expect(store.sinks.map((sink) => sink.state)).toEqual(["committed"]);
    expect(world.linesOf(SERVER).slice(-2)).toEqual([
      `session="${CLIENT}" started`,
      `session="${CLIENT}" timeouted`,
    ]);
  });

  test("a late start of an empty file does not empty the file that came after it", () => {
    const { world, store } = setUp(content);
    world.run(60 * SECOND_US);
    world.inject("192.0.2.9:1", SERVER, Buffer.from("s | 0 | out.dat | 0"));
    world.run(world.nowUs + 60 * SECOND_US);
    expect(store.files.get("out.dat")).toEqual(Buffer.from(content));
  });

  test("a start repeated in the middle keeps the session", () => {
    const { world, store, client } = setUp(content);
    world.run(SECOND_US, () => world.sent.some((one) => startsWith(one, "d | 2")));
    world.inject(CLIENT, SERVER, world.sent[0].bytes);
    runClient(world, client);
    expect(client.outcome).toEqual({ result: "complete" });
    expect(store.files.get("out.dat")).toEqual(Buffer.from(content));
  });
});

describe("the courses' bad programs: fixed patterns of 5 % loss", () => {
  /** Acknowledgement attempts that bad_server keeps back, counted from 1, and send attempts that bad_client does. */
  const BAD_SERVER = [5, 8, 38, 65, 67, 73, 87, 127, 152, 177, 210, 211, 218, 239];
  const BAD_CLIENT = [2, 4, 10, 53, 60, 101, 113, 131, 140, 146, 185];
  const pattern =
    (from: string, attempts: readonly number[]) =>
    (one: SentDatagram): Fate | undefined =>
      one.from === from && attempts.includes(one.index + 1) ? LOST : undefined;

  test.each([1, 5, 6, 7, 30, 100, 220])("bad_server, %d chunks", (chunks) => {
    const content = patternBytes(chunks * 1_000);
    const { world, store, client } = setUp(content, { decide: pattern(SERVER, BAD_SERVER) });
    runClient(world, client);
    expect(client.outcome).toEqual({ result: "complete" });
    expect(store.files.get("out.dat")).toEqual(Buffer.from(content));
  });

  test.each([1, 5, 6, 7, 30, 100, 180])("bad_client from 39 on, %d chunks", (chunks) => {
    const content = patternBytes(chunks * 1_000);
    const decide = pattern(CLIENT, BAD_CLIENT);
    const { world, store, client } = setUp(content, { decide }, { client: { firstSequence: 39 } });
    runClient(world, client);
    expect(client.outcome).toEqual({ result: "complete" });
    expect(store.files.get("out.dat")).toEqual(Buffer.from(content));
  });
});

test("a server that falls silent when it has the whole file: probably complete, and before that a failure", () => {
  for (const [lastAcknowledged, result] of [
    ["a | 3", "probably-complete"],
    ["a | 2", "failed"],
  ]) {
    let isSilent = false;
    const decide = (one: SentDatagram): Fate | undefined => {
      if (one.from !== SERVER) return undefined;
      const fate = isSilent ? LOST : undefined;
      isSilent ||= text(one.bytes) === lastAcknowledged;
      return fate;
    };
    const { world, client } = setUp(patternBytes(3_000), { decide });
    runClient(world, client);
    expect(client.outcome?.result).toBe(result);
    expect(world.linesOf(CLIENT).at(-1)).toBe("Failed after 5 retries");
  }
});

test("a start that nobody answers: the original's words, and a failure", () => {
  const { world, client } = setUp(patternBytes(10), { decide: () => LOST });
  runClient(world, client);
  expect(world.nowUs).toBe(2_500_000);
  expect(world.sent).toHaveLength(5);
  expect(world.linesOf(CLIENT)).toEqual([
    ...Array.from({ length: 4 }, () => "seqNo=0 retry"),
    "Failed to get ack for start message",
  ]);
  expect(client.outcome).toMatchObject({ result: "failed", error: { code: "UNREACHABLE", exit: 6 } });
});

test("many overlapping sessions, two with the same name, on a bad network", () => {
  const { world, store, client } = setUp(patternBytes(20_000), {
    seed: 5,
    lossProbability: 0.1,
    duplicateProbability: 0.1,
  });
  const others = Array.from({ length: 20 }, (_, i) => {
    const remoteName = i === 0 ? "out.dat" : `file-${i}`;
    const content = patternBytes(20_000, i + 2);
    const machine = new ChunksClient({
      edition: f22,
      server: SERVER,
      source: memorySource(content),
      remoteName,
      firstSequence: i * 1_000 - 5_000,
      attempts: 12, // five are too few for 400 exchanges at this loss: one would fail now and then, honestly
    });
    world.add(`192.0.2.3:${40_000 + i}`, machine);
    return { machine, remoteName, content };
  });
  world.run(120 * SECOND_US);
  for (const { machine, remoteName, content } of others) {
    expect(machine.outcome).toEqual({ result: "complete" });
    if (remoteName !== "out.dat") expect(store.files.get(remoteName)).toEqual(Buffer.from(content));
  }
  expect(client.outcome).toEqual({ result: "complete" });
  const shared = store.files.get("out.dat");
  expect(
    [patternBytes(20_000), others[0].content].some((one) => Buffer.from(one).equals(shared ?? one.slice(1))),
  ).toBe(true);
});

test("a sender that runs ahead is told what is expected, and nothing is stored out of order", () => {
  const store = new MemoryStore();
  const server = new ChunksServer({ edition: f22, store });
  const ask = (message: string): string[] => {
    server.handleDatagram(Buffer.from(message), CLIENT, 0);
    const answers: string[] = [];
    for (let one; (one = server.pollTransmit()) !== undefined;) answers.push(text(one.bytes));
    return answers;
  };
  expect(ask("s | 0 | a | 9")).toEqual(["a | 1 | 1024"]);
  expect(ask("d | 1 | abc")).toEqual(["a | 2"]);
  expect(ask("d | 3 | ghi")).toEqual(["a | 2"]);
  expect(ask("d | 1 | abc")).toEqual(["a | 2"]);
  expect(ask("s | 7 | other | 4")).toEqual(["a | 8 | 1024"]); // the session goes on unchanged
  expect(ask("d | 2 | def")).toEqual(["a | 3"]);
  expect(ask("d | 3 | ghijkl")).toEqual(["a | 3"]); // beyond the size announced: not stored
  expect(ask("d | 3 | ghi")).toEqual(["a | 4"]);
  expect(text(store.files.get("a") ?? new Uint8Array())).toBe("abcdefghi");
  expect(ask("d | 3 | ghi")).toEqual(["a | 4"]);
  expect(ask("d | 9 | x")).toEqual(["a | 4"]);
  expect(ask("nonsense")).toEqual([]);
  expect(ask("a | 4")).toEqual([]);
});

test("dangerous names stay in the directory", () => {
  const store = new MemoryStore();
  const server = new ChunksServer({ edition: f22, store });
  const names = ["../x", "/etc/passwd", "..", "a/b/c", ".profile", "NUL", "\u001b[2J"];
  for (const [i, name] of names.entries()) {
    server.handleDatagram(Buffer.from(`s | 0 | ${name} | 1`), `192.0.2.2:${i}`, 0);
    server.handleDatagram(Buffer.from("d | 1 | z"), `192.0.2.2:${i}`, 0);
  }
  expect([...store.files.keys()]).toEqual(["x", "passwd", "unnamed", "c", "_.profile", "_NUL", "_[2J"]);
});

test("too large, too many, disk full: no acknowledgement, no file, and the server lives on", () => {
  const { world, store, server } = setUp(
    patternBytes(50),
    {},
    { server: { maxFileBytes: 10_000, maxSessions: 2 } },
  );
  store.capacityBytes = 5_000;
  world.run(SECOND_US);
  server.handleDatagram(Buffer.from("s | 0 | big | 10001"), "192.0.2.3:1", world.nowUs);
  expect(server.pollTransmit()).toBeUndefined();
  const full = new ChunksClient({
    edition: f22,
    server: SERVER,
    source: memorySource(patternBytes(9_000)),
    remoteName: "full",
  });
  world.add("192.0.2.3:2", full);
  runClient(world, full);
  expect(full.outcome).toMatchObject({ result: "failed", error: { code: "PEER_GONE" } });
  expect(store.files.has("full")).toBe(false);
  expect(store.openSinks).toBe(0);
  server.takeEvents();
  for (let i = 0; i < 1_000; i++)
    server.handleDatagram(Buffer.from("s | 0 | a | 5"), `192.0.2.4:${i}`, world.nowUs);
  const answers: string[] = [];
  for (let one; (one = server.pollTransmit()) !== undefined;) answers.push(one.to);
  expect(answers).toEqual(["192.0.2.4:0", "192.0.2.4:1"]);
  // 999 refusals with the one before: the first 8, then 16, 32, 64, 128, 256 and 512. No flood of events.
  expect(server.takeEvents().filter((event) => event.type === "session-refused")).toHaveLength(7 + 6);
});

test("the buffer size decides the chunks: digits of the number count too", () => {
  const lengths = (bufferBytes: number, size: number): number[] => {
    const { world, client } = setUp(patternBytes(size), {}, { server: { bufferBytes } });
    runClient(world, client);
    expect(client.outcome).toEqual({ result: "complete" });
    return world.sent.filter((one) => startsWith(one, "d")).map((one) => one.bytes.length);
  };
  // "d | 1 | " takes 8 of 12 bytes, "d | 10 | " takes 9: nine chunks of 4, then 3 and the last 1.
  expect(lengths(12, 40)).toEqual([...Array.from({ length: 9 }, () => 12), 12, 10]);
  expect(lengths(65_000, 100_000)).toEqual([65_000, 100_000 - 64_992 + 8]);
  const { world, client } = setUp(patternBytes(5), {}, { server: { bufferBytes: 8 } });
  runClient(world, client);
  expect(client.outcome).toMatchObject({ result: "failed", error: { code: "PROTOCOL_VIOLATION" } });
});

test("wrong answers wait for the timer and cost no try", () => {
  const client = new ChunksClient({
    edition: f22,
    server: SERVER,
    source: memorySource(patternBytes(10)),
    remoteName: "a",
  });
  expect(text(client.pollTransmit(0)?.bytes ?? new Uint8Array())).toBe("s | 0 | a | 10");
  for (const wrong of ["a | 0 | 1024", "a | 2 | 1024", "a | x", "zzz", "d | 1 | a", "n | 1", ""])
    client.handleDatagram(Buffer.from(wrong), SERVER, 1_000);
  client.handleDatagram(Buffer.from("a | 1 | 1024"), "192.0.2.66:12300", 1_000); // a stranger
  expect(client.pollTransmit(1_000)).toBeUndefined();
  expect(client.nextTimeoutUs()).toBe(500_000);
  client.handleDatagram(Buffer.from("a | 1"), SERVER, 2_000); // two fields: 1024 is assumed
  expect(text(client.pollTransmit(2_000)?.bytes ?? new Uint8Array()).slice(0, 8)).toBe("d | 1 | ");
});

test("a file that changes while it is sent is never completed at the server", () => {
  const content = patternBytes(3_000);
  const source = {
    ...memorySource(content),
    checkUnchanged: () => {
      throw new GodwitError("SOURCE_CHANGED", "it changed");
    },
  };
  const { world, store, client } = setUp(content, {}, { client: { source } });
  world.run(10 * SECOND_US);
  expect(client.outcome).toMatchObject({ result: "failed", error: { code: "SOURCE_CHANGED", exit: 8 } });
  expect(store.sinks.map((sink) => sink.state)).toEqual(["aborted"]);
});

describe("the one-bit editions", () => {
  test("lost answers: the extra ones are awaited before going on", () => {
    const content = patternBytes(100_000);
    let late = 0;
    // Every third answer arrives after the client's timer: asked again, the server answers twice.
    const decide = (one: SentDatagram): Fate | undefined =>
      one.from === SERVER && one.index % 3 === 2 ? [1_200_000 + late++] : undefined;
    const { world, store, client } = setUp(
      content,
      { decide },
      { server: { edition: s23 }, client: { edition: s23 } },
    );
    runClient(world, client);
    expect(client.outcome).toEqual({ result: "complete" });
    expect(store.files.get("out.dat")).toEqual(Buffer.from(content));
  });
});

test("thousands of random starts and chunks never crash the server nor leave more sessions than allowed", () => {
  const store = new MemoryStore();
  const server = new ChunksServer({ edition: f22, store, maxSessions: 8 });
  const random = new SeededRandom(11, "chunks-fuzz");
  for (let i = 0; i < 20_000; i++) {
    const from = `192.0.2.2:${random.integer(1, 40)}`;
    const kinds = [
      `s | ${random.integer(-3, 3)} | ${random.pick(["a", "../b", "", "\u00ff"])} | ${random.integer(0, 30)}`,
      `d | ${random.integer(-3, 12)} | ${"x".repeat(random.integer(0, 12))}`,
      "d | | ",
    ];
    server.handleDatagram(Buffer.from(random.pick(kinds), "latin1"), from, i * 1_000);
    let answers = 0;
    while (server.pollTransmit() !== undefined) answers++;
    expect(answers).toBeLessThanOrEqual(1);
    if (random.chance(0.01)) server.handleTimeout(i * 1_000);
    server.takeEvents();
  }
  server.handleStop();
  expect(store.openSinks).toBe(0);
  for (const sink of store.sinks) expect(sink.state).not.toBe("open");
});

describe("timers of the server", () => {
  const start = (): {
    server: ChunksServer;
    store: MemoryStore;
    hear: (message: string, nowUs: number) => void;
  } => {
    const store = new MemoryStore();
    const server = new ChunksServer({ edition: f22, store });
    return {
      server,
      store,
      hear: (message, nowUs) => server.handleDatagram(Buffer.from(message), CLIENT, nowUs),
    };
  };

  test("an unfinished session lasts 3 s from the last message", () => {
    const { server, store, hear } = start();
    hear("s | 0 | a | 9", 0);
    expect(server.nextTimeoutUs()).toBe(3 * SECOND_US);
    hear("d | 1 | abc", SECOND_US);
    expect(server.nextTimeoutUs()).toBe(4 * SECOND_US);
    server.handleTimeout(4 * SECOND_US - 1);
    expect(store.openSinks).toBe(1);
    server.handleTimeout(4 * SECOND_US);
    expect(store.openSinks).toBe(0);
    expect(server.nextTimeoutUs()).toBeUndefined();
  });

  test("a finished one answers for 5 s from the last message, and for 60 s at most", () => {
    const { server, hear } = start();
    hear("s | 0 | a | 3", 0);
    hear("d | 1 | abc", SECOND_US);
    expect(server.nextTimeoutUs()).toBe(6 * SECOND_US);
    for (let nowUs = 2 * SECOND_US; nowUs < 60 * SECOND_US; nowUs += SECOND_US) hear("d | 1 | abc", nowUs);
    expect(server.nextTimeoutUs()).toBe(61 * SECOND_US);
  });
});

describe("the client, message by message", () => {
  const begin = (
    size: number,
    edition = f22,
  ): { client: ChunksClient; sent: (nowUs: number) => string[] } => {
    const source = memorySource(patternBytes(size));
    const client = new ChunksClient({ edition, server: SERVER, source, remoteName: "a" });
    const sent = (nowUs: number): string[] => {
      const messages: string[] = [];
      for (let one; (one = client.pollTransmit(nowUs)) !== undefined;) messages.push(text(one.bytes));
      return messages;
    };
    sent(0);
    return { client, sent };
  };
  const answer = (client: ChunksClient, message: string, nowUs: number): void =>
    client.handleDatagram(Buffer.from(message), SERVER, nowUs);

  test("an answer without a buffer size means 1024", () => {
    const { client, sent } = begin(5_000);
    answer(client, "a | 1", 1);
    expect(sent(1).map((message) => message.length)).toEqual([1_024]);
  });

  test("a buffer as long as the header is refused before anything is sent", () => {
    const { client, sent } = begin(5_000);
    answer(client, "a | 1 | 8", 1);
    expect(sent(1)).toEqual([]);
    expect(client.outcome).toMatchObject({ result: "failed", error: { code: "PROTOCOL_VIOLATION" } });
  });

  test("one bit: after sending twice, the second answer is awaited before the next chunk", () => {
    const { client, sent } = begin(50_000, s23);
    answer(client, "a|1", 10);
    expect(sent(10).map((message) => message.slice(0, 4))).toEqual(["d|1|"]);
    client.handleTimeout(SECOND_US + 10);
    expect(sent(SECOND_US + 10)).toHaveLength(1);
    answer(client, "a|0", SECOND_US + 20);
    expect(sent(SECOND_US + 20)).toEqual([]);
    answer(client, "a|0", SECOND_US + 30); // the late one: it must not pass for an answer to the chunk after next
    expect(sent(SECOND_US + 30).map((message) => message.slice(0, 4))).toEqual(["d|0|"]);
  });

  test("one bit: a second answer that never comes is not awaited for ever", () => {
    const { client, sent } = begin(50_000, s23);
    client.handleTimeout(SECOND_US);
    expect(sent(SECOND_US)).toEqual(["s|0|a|50000"]);
    answer(client, "a|1", SECOND_US + 20);
    expect(client.nextTimeoutUs()).toBe(2 * SECOND_US + 20);
    client.handleTimeout(2 * SECOND_US + 20);
    expect(sent(2 * SECOND_US + 20).map((message) => message.slice(0, 4))).toEqual(["d|1|"]);
  });
});
