/**
 * Recorded exchanges of the original chunks programs against godwit in the other role: what godwit
 * sends is compared byte for byte. Where godwit deliberately differs, the difference is spelled out.
 */
import { describe, expect, test } from "vitest";
import { concatBytes, fromHex } from "../../src/base/bytes.ts";
import { EDITIONS } from "../../src/classic/chunks/edition.ts";
import type { EditionName } from "../../src/classic/chunks/edition.ts";
import { ChunksClient } from "../../src/classic/chunks/client.ts";
import { parseMessage } from "../../src/classic/chunks/message.ts";
import { ChunksServer } from "../../src/classic/chunks/server.ts";
import { memorySource, MemoryStore } from "../support/classic-memory.ts";
import { delivered, replay, sentBy } from "../support/classic-replay.ts";
import type { ReplayedDatagram } from "../support/classic-replay.ts";
import { bytesOf, loadVector, sha256 } from "../support/classic-vectors.ts";
import type { ClassicVector } from "../support/classic-vectors.ts";

const SERVER = "127.0.0.1:12300";
const HELLO = fromHex("48656c6c6f2066726f6d2074686520746578742066696c652e0a5365636f6e64206c696e652e0a");
const ack = (text: string): string => Buffer.from(text).toString("hex");

/** The file of session `client`, put together from its data and checked against the recorded hash. */
function fileOf(vector: ClassicVector, client = 0, edition: EditionName = "f22"): Uint8Array {
  const chunks = new Map<number, Uint8Array>();
  for (const datagram of vector.datagrams) {
    if (datagram.dir !== "c2s" || datagram.client !== client) continue;
    const message = parseMessage(bytesOf(datagram), EDITIONS[edition].separator);
    if (message?.type === "data") chunks.set(message.sequence, message.payload);
  }
  const file = concatBytes(...chunks.values());
  expect(sha256(file)).toBe(vector.files?.[client].sha256);
  return file;
}

const hexes = (datagrams: readonly { hex: string }[]): readonly string[] => datagrams.map((one) => one.hex);

function serverReplay(
  vector: ClassicVector,
  name: EditionName = "f22",
  bufferBytes = EDITIONS[name].bufferBytes,
): { sent: readonly ReplayedDatagram[]; store: MemoryStore; server: ChunksServer } {
  const store = new MemoryStore();
  const server = new ChunksServer({ edition: EDITIONS[name], store, bufferBytes });
  const sent = replay(
    server,
    delivered(vector.datagrams, "c2s"),
    (one) => `127.0.0.1:${40_000 + one.client}`,
  );
  return { sent, store, server };
}

function clientReplay(
  vector: ClassicVector,
  file: Uint8Array,
  remoteName: string,
  options: { name?: EditionName; client?: number; firstSequence?: number } = {},
): { sent: readonly ReplayedDatagram[]; client: ChunksClient } {
  const { name = "f22", client: number = 0, firstSequence = 0 } = options;
  const client = new ChunksClient({
    edition: EDITIONS[name],
    server: SERVER,
    source: memorySource(file),
    remoteName,
    firstSequence,
  });
  const mine = vector.datagrams.filter((one) => one.client === number);
  const startMs = mine[0].t_ms;
  const incoming = delivered(mine, "s2c").map((one) => ({ ...one, t_ms: one.t_ms - startMs }));
  return { sent: replay(client, incoming, () => SERVER), client };
}

describe("as the server, to recorded clients", () => {
  test.each([
    "000_ref_text",
    "000_ref_binary",
    "000_ref_separator_in_data",
    "000_lost_start",
    "000_lost_start_ack",
    "000_lost_data_ack",
    "000_delayed_start",
    "000_goodserver_badclient",
  ])("%s: every answer as recorded", (name) => {
    const vector = loadVector(name);
    const { sent, store } = serverReplay(vector);
    expect(hexes(sent)).toEqual(hexes(sentBy(vector.datagrams, "s2c")));
    expect(sha256(store.files.get("out.dat") ?? HELLO)).toBe(vector.files?.[0].sha256);
  });

  test("000_ref_empty: the answer as recorded, and unlike the original the file appears", () => {
    const vector = loadVector("000_ref_empty");
    const { sent, store } = serverReplay(vector);
    expect(hexes(sent)).toEqual(hexes(sentBy(vector.datagrams, "s2c")));
    expect(store.files.get("out.dat")).toHaveLength(0);
  });

  test("000_two_clients: two sessions at once, each answered as recorded", () => {
    const vector = loadVector("000_two_clients");
    const { sent, store } = serverReplay(vector);
    expect(hexes(sent)).toEqual(hexes(sentBy(vector.datagrams, "s2c")));
    expect(sent.map((one) => one.to)).toEqual(
      sentBy(vector.datagrams, "s2c").map((one) => `127.0.0.1:${40_000 + one.client}`),
    );
    expect(sha256(store.files.get("a.dat") ?? HELLO)).toBe(vector.files?.[0].sha256);
    expect(sha256(store.files.get("b.dat") ?? HELLO)).toBe(vector.files?.[1].sha256);
  });

  test("000_badserver_goodclient: as recorded, plus the two acknowledgements that the bad server kept back", () => {
    const vector = loadVector("000_badserver_goodclient");
    const recorded = hexes(sentBy(vector.datagrams, "s2c"));
    expect(hexes(serverReplay(vector).sent)).toEqual([
      ...recorded.slice(0, 4),
      ack("a | 5"),
      ...recorded.slice(4, 6),
      ack("a | 7"),
      ...recorded.slice(6),
    ]);
  });

  test.each([
    ["000_lost_last_ack", "a | 3", 4],
    ["000_badserver_lastacklost", "a | 7", 5],
  ])("%s: as recorded, and the last chunk is acknowledged however often it comes", (name, last, times) => {
    const vector = loadVector(name);
    const recorded = hexes(sentBy(vector.datagrams, "s2c"));
    const { sent, store } = serverReplay(vector);
    const expected = [...recorded, ...Array.from({ length: times }, () => ack(last))];
    // The bad server also kept back the acknowledgement of chunk 4.
    if (name === "000_badserver_lastacklost") expected.splice(4, 0, ack("a | 5"));
    expect(hexes(sent)).toEqual(expected);
    expect(sha256(store.files.get("out.dat") ?? HELLO)).toBe(vector.files?.[0].sha256);
  });

  test("000_dup_start: as recorded, plus one answer to the second copy of the last chunk", () => {
    const vector = loadVector("000_dup_start");
    const { sent } = serverReplay(vector);
    expect(hexes(sent)).toEqual([...hexes(sentBy(vector.datagrams, "s2c")), ack("a | 3")]);
  });

  test("000_f21_text: buffer of 100 bytes, the server makes up the name", () => {
    const vector = loadVector("000_f21_text");
    const { sent, store } = serverReplay(vector, "f21", 100);
    expect(hexes(sent)).toEqual(hexes(sentBy(vector.datagrams, "s2c")));
    expect(store.files.get("new_127.0.0.1_40000.txt")).toEqual(Buffer.from(HELLO));
  });

  test.each(["s23", "s24"] as const)("000_s24_text with --edition %s", (name) => {
    const vector = loadVector("000_s24_text");
    const { sent, store } = serverReplay(vector, name);
    expect(hexes(sent)).toEqual(hexes(sentBy(vector.datagrams, "s2c")));
    expect(store.files.get("hello.txt")).toEqual(Buffer.from(HELLO));
  });

  test("000_s24_nack: a full server says so", () => {
    const vector = loadVector("000_s24_nack");
    const store = new MemoryStore();
    const server = new ChunksServer({ edition: EDITIONS.s24, store, maxSessions: 1 });
    server.handleDatagram(Buffer.from("s|0|other.txt|5"), "127.0.0.1:39999", 0);
    expect(Buffer.from(server.pollTransmit()?.bytes ?? []).toString()).toBe("a|1");
    const sent = replay(server, delivered(vector.datagrams, "c2s"), () => "127.0.0.1:40000");
    expect(hexes(sent)).toEqual(hexes(sentBy(vector.datagrams, "s2c")));
    expect(store.files.size).toBe(0);
  });
});

describe("as the client, to recorded servers", () => {
  test.each([
    "000_ref_text",
    "000_ref_binary",
    "000_ref_separator_in_data",
    "000_lost_start",
    "000_lost_start_ack",
    "000_lost_data_ack",
    "000_delayed_start",
    "000_badserver_goodclient",
  ])("%s: every message as recorded", (name) => {
    const vector = loadVector(name);
    const { sent, client } = clientReplay(vector, fileOf(vector), "out.dat");
    expect(hexes(sent)).toEqual(hexes(sentBy(vector.datagrams, "c2s")));
    expect(client.outcome).toEqual({ result: "complete" });
  });

  test.each(["000_lost_last_ack", "000_badserver_lastacklost"])(
    "%s: every message as recorded; not called a failure, as the original does, nor a success",
    (name) => {
      const vector = loadVector(name);
      const { sent, client } = clientReplay(vector, fileOf(vector), "out.dat");
      expect(hexes(sent)).toEqual(hexes(sentBy(vector.datagrams, "c2s")));
      expect(client.outcome?.result).toBe("probably-complete");
    },
  );

  test("000_goodserver_badclient: with the recorded first number 39; what the bad client kept back is sent", () => {
    const vector = loadVector("000_goodserver_badclient");
    const { sent, client } = clientReplay(vector, fileOf(vector), "out.dat", { firstSequence: 39 });
    // The bad client kept chunks 40 and 41 back once each, which shows as 0.5 s of silence. godwit
    // sends them at once, and again when the recorded acknowledgement comes only after its timer.
    const [start, d40, d41, ...rest] = hexes(sentBy(vector.datagrams, "c2s"));
    expect(hexes(sent)).toEqual([start, d40, d40, d41, d41, ...rest]);
    expect(client.outcome).toEqual({ result: "complete" });
  });

  test("000_dup_start: each message once where the original sends everything twice", () => {
    const vector = loadVector("000_dup_start");
    const { sent, client } = clientReplay(vector, fileOf(vector), "out.dat");
    expect(hexes(sent)).toEqual([...new Set(hexes(sentBy(vector.datagrams, "c2s")))]);
    expect(client.outcome).toEqual({ result: "complete" });
  });

  test.each([0, 1])("000_two_clients: client %d, every message as recorded", (number) => {
    const vector = loadVector("000_two_clients");
    const mine = vector.datagrams.filter((one) => one.client === number);
    const { sent, client } = clientReplay(vector, fileOf(vector, number), number === 0 ? "a.dat" : "b.dat", {
      client: number,
    });
    expect(hexes(sent)).toEqual(hexes(sentBy(mine, "c2s")));
    expect(client.outcome).toEqual({ result: "complete" });
  });

  test("000_ref_empty: the start as recorded, then an empty chunk so that the original server makes the file", () => {
    const vector = loadVector("000_ref_empty");
    const { sent, client } = clientReplay(vector, new Uint8Array(0), "out.dat");
    const empty = Buffer.from("d | 1 | ").toString("hex");
    expect(hexes(sent)).toEqual([
      ...hexes(sentBy(vector.datagrams, "c2s")),
      ...Array.from({ length: 5 }, () => empty),
    ]);
    expect(client.outcome?.result).toBe("probably-complete");
  });

  test("000_f21_text: the extension in place of the name", () => {
    const vector = loadVector("000_f21_text");
    const { sent, client } = clientReplay(vector, HELLO, "hello.txt", { name: "f21" });
    expect(hexes(sent)).toEqual(hexes(sentBy(vector.datagrams, "c2s")));
    expect(client.outcome).toEqual({ result: "complete" });
  });

  test.each(["s23", "s24"] as const)("000_s24_text with --edition %s", (name) => {
    const vector = loadVector("000_s24_text");
    const { sent, client } = clientReplay(vector, HELLO, "hello.txt", { name });
    expect(hexes(sent)).toEqual(hexes(sentBy(vector.datagrams, "c2s")));
    expect(client.outcome).toEqual({ result: "complete" });
  });

  test("000_s24_nack: a full server is an honest failure", () => {
    const vector = loadVector("000_s24_nack");
    const { sent, client } = clientReplay(vector, HELLO, "hello.txt", { name: "s24" });
    expect(hexes(sent)).toEqual(hexes(sentBy(vector.datagrams, "c2s")));
    expect(client.outcome).toMatchObject({ result: "failed", error: { code: "BUSY" } });
  });
});
