import { createHash } from "node:crypto";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fromHex } from "../../src/base/bytes.ts";
import type { ClassicMachine } from "../../src/classic/machine.ts";
import { TcplikeClient } from "../../src/classic/tcplike/tcplike-client.ts";
import type { TcplikeClientOptions } from "../../src/classic/tcplike/tcplike-client.ts";
import { TcplikeServer } from "../../src/classic/tcplike/tcplike-server.ts";
import { readTcplikeHeader, tcplikePacket } from "../../src/classic/tcplike/tcplike-wire.ts";
import { SERVER as SUITE_SERVER, describeClassicSystem } from "../conformance/classic.suite.ts";
import { MemorySink, patternBytes } from "../support/classic-memory.ts";
import { RECORDED_PEER, playRecording } from "../support/classic-script.ts";
import { loadVector, sha256 } from "../support/classic-vectors.ts";
import type { ClassicVector } from "../support/classic-vectors.ts";
import { ClassicWorld } from "../support/classic-channel.ts";
import type { ChannelOptions } from "../support/classic-channel.ts";
import { OriginalTcplikeClient, OriginalTcplikeServer } from "../support/tcplike-original.ts";

const SERVER = "192.0.2.1:5000";
const CLIENT = "192.0.2.2:40000";
const HOUR_US = 3_600_000_000;

/** The recorded file: from the recording, or from the payloads of its distinct data packets. */
function recordedFile(vector: ClassicVector): Uint8Array {
  const file = vector.files?.[0];
  if (file?.hex !== undefined) return fromHex(file.hex);
  const parts = new Map<number, Uint8Array>();
  for (const datagram of vector.datagrams) {
    const bytes = fromHex(datagram.hex);
    const header = readTcplikeHeader(bytes);
    if (datagram.dir === "c2s" && header !== undefined && (header.flags === 0 || header.flags === 4))
      parts.set(header.sequence, bytes.subarray(12));
  }
  const all = Buffer.concat([...parts.values()]).subarray(0, file?.size);
  if (file?.sha256 !== undefined) expect(sha256(all)).toBe(file.sha256);
  return all;
}

/** The connection ids the recorded server drew, in order. */
function recordedIds(vector: ClassicVector): number[] {
  return vector.datagrams.flatMap((datagram) => {
    const header = readTcplikeHeader(fromHex(datagram.hex));
    return datagram.dir === "s2c" && header?.flags === 6 ? [header.connectionId] : [];
  });
}

const newHash = () => createHash("sha256");

function server(sink: MemorySink, drawConnectionId: () => number = () => 17): TcplikeServer {
  return new TcplikeServer({ sink, drawConnectionId, createHash: newHash, limitBytes: 1e9 }, 0);
}

function client(input: Uint8Array, more: Partial<TcplikeClientOptions> = {}): TcplikeClient {
  return new TcplikeClient({ server: SERVER, input, ...more }, 0);
}

const WHOLE = [
  "001_text",
  "001_text1300",
  "001_empty",
  "001_multiple512",
  "001_nul_in_middle",
  "001_lost_ack",
  "001_lost_data",
  "001_lost_syn",
  "001_lost_finack",
];

describe("recorded exchanges, byte for byte", () => {
  test.each([...WHOLE, "001_lost_synack"])("%s as client", (name) => {
    const vector = loadVector(name);
    const machine = new TcplikeClient({ server: RECORDED_PEER, input: recordedFile(vector) }, 0);
    playRecording(vector, "client", machine);
    expect(machine.outcome).toEqual({ result: "complete" });
  });

  test.each(WHOLE)("%s as server", (name) => {
    const vector = loadVector(name);
    const sink = new MemorySink();
    const [id] = recordedIds(vector);
    const machine = server(sink, () => id);
    playRecording(vector, "server", machine);
    expect(machine.outcome).toEqual({ result: "complete" });
    expect(sink.state).toBe("committed");
    expect(Buffer.from(sink.bytes)).toEqual(Buffer.from(recordedFile(vector)));
  });

  test("001_lost_synack as server: the id of the lost SYN-ACK is kept", () => {
    const vector = loadVector("001_lost_synack");
    const machine = server(new MemorySink(), () => recordedIds(vector)[0]);
    playRecording(vector, "server", machine, 2);
    machine.handleDatagram(fromHex(vector.datagrams[2].hex), RECORDED_PEER, 501_000);
    expect(readTcplikeHeader(machine.pollTransmit()?.bytes ?? new Uint8Array(0))).toMatchObject({
      connectionId: 18,
      flags: 6,
    });
  });

  test("001_dup_syn as server: both SYNs get the first id, so the data arrives", () => {
    const vector = loadVector("001_dup_syn");
    const sink = new MemorySink();
    const ids = recordedIds(vector);
    expect(ids).toEqual([8, 2]);
    const machine = server(sink, () => ids.shift() ?? 0);
    const received = vector.datagrams.filter((datagram) => datagram.dir === "c2s").slice(0, 3);
    for (const datagram of received) machine.handleDatagram(fromHex(datagram.hex), RECORDED_PEER, 100);
    const replies = [machine.pollTransmit(), machine.pollTransmit(), machine.pollTransmit()];
    // SYN-ACK, SYN-ACK, ACK 82 = 43 + 39 characters, all with id 8.
    expect(replies.map((reply) => Buffer.from(reply?.bytes ?? []).toString("hex"))).toEqual([
      "2a0000002b00000008000600",
      "2a0000002b00000008000600",
      "2b0000005200000008000400",
    ]);
  });

  test("001_dup_syn as client: the recorded start, then the server's new id is taken over", () => {
    const vector = loadVector("001_dup_syn");
    const machine = new TcplikeClient(
      { server: RECORDED_PEER, input: recordedFile(loadVector("001_text")) },
      0,
    );
    playRecording(vector, "client", machine, 6);
    const next = readTcplikeHeader(machine.pollTransmit()?.bytes ?? new Uint8Array(0));
    // The server moved on by one for the packet with the old id.
    expect(next).toEqual({ sequence: 44, acknowledgement: 0, connectionId: 2, flags: 4 });
  });

  test("001_nul_at_end as server: the tail is found, where the original loses it", () => {
    const vector = loadVector("001_nul_at_end");
    const sink = new MemorySink();
    const machine = server(sink, () => 7);
    playRecording(vector, "server", machine, 4);
    const packet = fromHex(vector.datagrams[4].hex);
    const acks: number[] = [];
    for (let i = 0; i < 5; i++) {
      machine.handleDatagram(packet, RECORDED_PEER, 1_000 + i);
      acks.push(readTcplikeHeader(machine.pollTransmit()?.bytes ?? new Uint8Array(0))?.acknowledgement ?? 0);
    }
    // abc and two NULs from 43 on: 46 again, a full chunk 555, then 47, and 48 which the client wants.
    expect(acks).toEqual([46, 555, 47, 48, 49]);
    const fin = tcplikePacket({ sequence: 48, acknowledgement: 0, connectionId: 7, flags: 1 }, 524);
    machine.handleDatagram(fin, RECORDED_PEER, 2_000);
    expect(Buffer.from(sink.bytes).toString("hex")).toBe("6162630000");
  });

  test("001_nul_at_end as client: refused before anything is sent", () => {
    const machine = client(recordedFile(loadVector("001_nul_at_end")));
    expect(machine.outcome).toMatchObject({ result: "failed", error: { code: "USAGE" } });
    expect(machine.pollTransmit()).toBeUndefined();
  });
});

describe("the log", () => {
  test("a client's lines, with a loss", () => {
    const world = new ClassicWorld({
      decide: ({ from, index }) => (from === CLIENT && index === 2 ? [] : undefined),
    });
    world.add(SERVER, server(new MemorySink()));
    world.add(CLIENT, client(Buffer.alloc(600, "x")));
    expect(world.run(HOUR_US)).toBe(true);
    // The trailing space of plain data is the original's.
    expect(world.linesOf(CLIENT)).toEqual([
      "SEND 42 0 0 SYN",
      "RECV 42 43 17 ACK SYN",
      "SEND 43 0 17 ACK",
      "RECV 43 555 17 ACK",
      "SEND 555 0 17 ",
      "DROP 555 0 17 ",
      "SEND 555 0 17  DUP",
      "RECV 555 643 17 ACK",
      "SEND 643 0 17 FIN",
      "RECV 643 731 17 ACK FIN",
      "RECV 643 0 17 FIN",
      "SEND 643 644 17 ACK FIN",
      "SEND 643 644 17 ACK FIN",
      "SEND 643 644 17 ACK FIN",
    ]);
  });

  test("a server's lines, with a repeated SYN and repeated data", () => {
    const world = new ClassicWorld({
      decide: ({ from, index }) => (from === SERVER && index < 3 && index !== 1 ? [] : undefined),
    });
    world.add(SERVER, server(new MemorySink()));
    world.add(CLIENT, client(Buffer.from("hello")));
    expect(world.run(HOUR_US)).toBe(true);
    expect(world.linesOf(SERVER)).toEqual([
      "RECV 42 0 0 SYN",
      "SEND 42 43 17 ACK SYN",
      "DROP 42 0 0SYN",
      "RECV 42 0 0 SYN DUP",
      "SEND 42 43 17 ACK SYN",
      "RECV 43 0 17 ACK",
      "SEND 43 48 17 ACK",
      "RECV 43 0 17 ACK",
      "DROP 43 0 17ACK",
      "SEND 43 48 17 ACK",
      "RECV 48 0 17 FIN",
      "SEND 48 53 17 ACK FIN",
      "SEND 48 0 17 FIN",
      "RECV 48 49 17 ACK FIN",
    ]);
  });
});

/** Runs a pair and returns how each end saw it and what arrived. */
function run(
  input: Uint8Array,
  ends: { readonly client?: "original"; readonly server?: "original"; readonly digest?: boolean },
  channel: ChannelOptions = {},
): { client: ClassicMachine; server: ClassicMachine; output: Uint8Array; world: ClassicWorld } {
  const world = new ClassicWorld(channel);
  const sink = new MemorySink();
  const original = ends.server === "original" ? new OriginalTcplikeServer(channel.seed ?? 1, 0) : undefined;
  const serverMachine = original ?? server(sink);
  const digest = ends.digest ? { digest: newHash().update(input).digest() } : {};
  const clientMachine =
    ends.client === "original"
      ? new OriginalTcplikeClient(SERVER, Buffer.from(input).toString("utf8"), 0)
      : client(input, digest);
  world.add(SERVER, serverMachine);
  world.add(CLIENT, clientMachine);
  expect(world.run(HOUR_US), "both ends must end").toBe(true);
  return { client: clientMachine, server: serverMachine, output: original?.output ?? sink.bytes, world };
}

function text(size: number, seed = 1): Uint8Array {
  return patternBytes(size, seed).map((byte) => 32 + (byte % 95));
}

const COMPLETE = { result: "complete" };
const ACCENTS = Buffer.from("\u00e9".repeat(600));
const MIXED = Buffer.from("Fr\u00fchling \u{1f426} ".repeat(90));

describe("what the original cannot do, with an original at the other end", () => {
  test.each([
    ["ASCII that ends at sequence 204800", text(204_757)],
    ["one byte less", text(204_756)],
    ["beyond the wrap", text(210_000)],
    ["two wraps", text(204_757 + 204_800)],
    ["a short non-ASCII file, counted in bytes", Buffer.from("na\u00efve caf\u00e9")],
    ["NULs at the end of a full chunk", Buffer.from(`${"a".repeat(500)}${"\0".repeat(12)}tail`)],
    ["NULs at the end of the file", Buffer.from(`${"b".repeat(600)}${"\0".repeat(100)}`)],
    ["a first chunk of NULs", Buffer.from(`${"\0".repeat(512)}x`)],
    ["only NULs", Buffer.alloc(300)],
    ["non-ASCII with NULs behind it", Buffer.from("\u00e9\0\0")],
  ])("original client, our server: %s", (_what, input) => {
    const { client, server, output } = run(input, { client: "original" });
    expect([client.outcome, server.outcome]).toEqual([COMPLETE, COMPLETE]);
    expect(sha256(output)).toBe(sha256(input));
  });

  test.each([
    ["ASCII that ends at sequence 204800", text(204_757)],
    ["two wraps", text(204_757 + 204_800)],
    ["600 accented letters", ACCENTS],
    ["characters of one to four bytes", MIXED],
    ["NULs at a chunk's end, cut elsewhere", Buffer.from(`${"a".repeat(500)}${"\0".repeat(12)}tail`)],
    ["511 NULs in a row", Buffer.from(`a${"\0".repeat(511)}b`)],
    ["nothing", Buffer.alloc(0)],
  ])("our client, original server: %s", (_what, input) => {
    const { client, server, output } = run(input, { server: "original" });
    expect([client.outcome, server.outcome]).toEqual([COMPLETE, COMPLETE]);
    expect(sha256(output)).toBe(sha256(input));
  });

  test.each([
    ["not UTF-8", Buffer.from([0x61, 0xff])],
    ["a surrogate", Buffer.from([0xed, 0xa0, 0x80])],
    ["NUL at the end", Buffer.from("abc\0")],
    ["512 NULs in a row", Buffer.from(`a${"\0".repeat(512)}b`)],
  ])("our client refuses %s before it sends anything", (_what, input) => {
    const machine = client(input);
    expect(machine.outcome).toMatchObject({ result: "failed", error: { code: "USAGE" } });
    expect(machine.pollTransmit()).toBeUndefined();
  });

  test("text that the original client cuts is an error at our server, not a short file", () => {
    const { server, output } = run(Buffer.from("x".repeat(512) + "\u00e9".repeat(512)), {
      client: "original",
    });
    expect(server.outcome).toMatchObject({ result: "failed", error: { code: "PROTOCOL_VIOLATION" } });
    expect(output.length).toBeLessThanOrEqual(512);
  });

  test("a doubled SYN: the new id and position are taken over, and the file is whole", () => {
    const input = text(1_300);
    const { client, output } = run(
      input,
      { server: "original" },
      {
        decide: ({ from, index }) => (from === CLIENT && index === 0 ? [100, 350] : undefined),
      },
    );
    expect(client.outcome).toMatchObject({ result: "probably-complete" });
    expect(sha256(output)).toBe(sha256(input));
  });

  test("a SYN that arrives again in the middle", () => {
    const input = text(5_000);
    const { client, output } = run(
      input,
      { server: "original" },
      {
        decide: ({ from, index }) => (from === CLIENT && index === 0 ? [100, 1_050] : undefined),
      },
    );
    expect(client.outcome).toMatchObject({ result: "probably-complete" });
    expect(sha256(output)).toBe(sha256(input));
  });

  test("a late copy of an older packet makes our client doubt", () => {
    const input = text(5_000);
    const { client, output } = run(
      input,
      { server: "original" },
      {
        // The first data packet once more while the third is under way: the original acknowledges it
        // as if it were the third, which it then drops.
        decide: ({ from, index }) => (from === CLIENT && index === 1 ? [100, 590] : undefined),
      },
    );
    expect(sha256(output)).not.toBe(sha256(input));
    expect(client.outcome).toMatchObject({ result: "probably-complete" });
  });
});

describe("both ends ours", () => {
  test("any bytes with exact lengths and a digest", () => {
    for (const input of [patternBytes(10_000), Buffer.alloc(2_000), Buffer.alloc(0), Buffer.from([0])]) {
      const { client, server, output } = run(input, { digest: true });
      expect([client.outcome, server.outcome]).toEqual([COMPLETE, COMPLETE]);
      expect(sha256(output)).toBe(sha256(input));
    }
  });

  test("exact lengths are refused by an original server before data is sent", () => {
    const world = new ClassicWorld();
    const original = new OriginalTcplikeServer(1, 0);
    const machine = client(Buffer.from("x"), { digest: newHash().update("x").digest() });
    world.add(SERVER, original);
    world.add(CLIENT, machine);
    expect(world.run(HOUR_US)).toBe(true);
    expect(machine.outcome).toMatchObject({ result: "failed", error: { code: "VERSION_MISMATCH" } });
    expect(original.output).toHaveLength(0);
  });

  test("a digest that does not match fails at both ends", () => {
    const world = new ClassicWorld();
    const sink = new MemorySink();
    const ends = [server(sink), client(Buffer.from("right"), { digest: newHash().update("wrong").digest() })];
    world.add(SERVER, ends[0]);
    world.add(CLIENT, ends[1]);
    expect(world.run(HOUR_US)).toBe(true);
    for (const end of ends)
      expect(end.outcome).toMatchObject({ result: "failed", error: { code: "VERIFICATION_FAILED" } });
    expect(sink.state).toBe("aborted");
  });

  test("the last acknowledgements never come: probably complete", () => {
    const { client, server, output } = run(
      Buffer.from("hello"),
      {},
      {
        decide: ({ from, index }) => (from === SERVER && index >= 2 ? [] : undefined),
      },
    );
    expect(client.outcome).toMatchObject({ result: "probably-complete" });
    expect(server.outcome).toEqual(COMPLETE);
    expect(Buffer.from(output).toString()).toBe("hello");
  });

  test("a silent server, a client that dies, a disk that is full", () => {
    const alone = new ClassicWorld();
    const caller = client(Buffer.from("x"));
    alone.add(CLIENT, caller);
    expect(alone.run(HOUR_US)).toBe(true);
    expect(caller.outcome).toMatchObject({ result: "failed", error: { code: "UNREACHABLE" } });
    expect(alone.nowUs).toBe(10_000_000);

    const dying = new ClassicWorld({
      decide: ({ from, index }) => (from === CLIENT && index > 2 ? [] : undefined),
    });
    const sink = new MemorySink();
    const waiting = server(sink);
    dying.add(SERVER, waiting);
    dying.add(CLIENT, client(text(2_000)));
    dying.run(HOUR_US);
    expect(waiting.outcome).toMatchObject({ result: "failed", error: { code: "IDLE_TIMEOUT" } });
    expect(sink.state).toBe("aborted");

    const full = new ClassicWorld();
    const writer = server(new MemorySink(undefined, 1_000));
    const feeder = client(text(2_000));
    full.add(SERVER, writer);
    full.add(CLIENT, feeder);
    expect(full.run(HOUR_US)).toBe(true);
    expect(writer.outcome).toMatchObject({ result: "failed", error: { code: "NO_SPACE" } });
    expect(feeder.outcome).toMatchObject({ result: "failed" });
  });

  test("a second client and a wrong id change nothing", () => {
    const world = new ClassicWorld();
    const sink = new MemorySink();
    const input = text(3_000);
    world.add(SERVER, server(sink));
    world.add(CLIENT, client(input));
    for (let at = 200; at < 3_000; at += 100) {
      world.inject(
        "203.0.113.5:1",
        SERVER,
        tcplikePacket({ sequence: 42, acknowledgement: 0, connectionId: 0, flags: 2 }, 524),
        at,
      );
      world.inject(
        CLIENT,
        SERVER,
        tcplikePacket({ sequence: 555, acknowledgement: 0, connectionId: 3, flags: 0 }, 524),
        at,
      );
    }
    expect(world.run(HOUR_US)).toBe(true);
    expect(sha256(sink.bytes)).toBe(sha256(input));
  });
});

describe("one packet at a time, by hand", () => {
  const packet = (sequence: number, flags: number, payload: Uint8Array, connectionId = 17): Uint8Array =>
    tcplikePacket({ sequence, acknowledgement: 0, connectionId, flags }, 524, payload);
  const reply = (acknowledgement: number, flags: number, connectionId: number): Uint8Array =>
    tcplikePacket({ sequence: 42, acknowledgement, connectionId, flags }, 12);
  const NOTHING = new Uint8Array(0);
  const FULL = Buffer.alloc(512, "x");

  /** What a machine sends now: flags, sequence number, acknowledgement, id. */
  const sentBy = (machine: ClassicMachine): (readonly number[])[] => {
    const sent: (readonly number[])[] = [];
    for (let transmit; (transmit = machine.pollTransmit(0)) !== undefined;) {
      const header = readTcplikeHeader(transmit.bytes);
      if (header !== undefined)
        sent.push([header.flags, header.sequence, header.acknowledgement, header.connectionId]);
    }
    return sent;
  };
  const opened = (sink: MemorySink): TcplikeServer => {
    const machine = server(sink);
    machine.handleDatagram(packet(42, 2, NOTHING, 0), CLIENT, 0);
    sentBy(machine);
    return machine;
  };

  test("a server ignores what does not follow, and the right packet from the wrong address", () => {
    const sink = new MemorySink();
    const machine = opened(sink);
    machine.handleDatagram(packet(43, 4, FULL), CLIENT, 10);
    expect(sentBy(machine)).toEqual([[4, 43, 555, 17]]);
    machine.handleDatagram(packet(143, 0, FULL), CLIENT, 20);
    machine.handleDatagram(packet(555, 0, Buffer.from("evil")), "198.51.100.9:1", 30);
    expect(sentBy(machine)).toEqual([]);
    machine.handleDatagram(packet(555, 0, Buffer.from("end")), CLIENT, 40);
    machine.handleDatagram(packet(558, 1, NOTHING), CLIENT, 50);
    expect(machine.outcome).toBeUndefined();
    machine.handleDatagram(packet(558, 5, NOTHING), CLIENT, 60);
    expect(machine.outcome).toEqual(COMPLETE);
    expect(Buffer.from(sink.bytes).toString()).toBe(`${"x".repeat(512)}end`);
  });

  test("a full chunk is acknowledged once, and again only after a timeout", () => {
    const machine = opened(new MemorySink());
    const counts = [10, 20, 390_000, 410_000, 420_000, 820_000].map((atUs) => {
      machine.handleDatagram(packet(43, 4, FULL), CLIENT, atUs);
      return sentBy(machine).length;
    });
    expect(counts).toEqual([1, 0, 0, 1, 0, 1]);
  });

  test("after timeouts the count under trial and the likely one take turns", () => {
    const machine = opened(new MemorySink());
    const acks = [0, 10, 20, 500_020, 1_000_020, 1_000_030, 1_000_040].map((atUs) => {
      machine.handleDatagram(packet(43, 4, Buffer.from("abc")), CLIENT, atUs);
      return sentBy(machine)[0][2];
    });
    // 46: three characters; 555: a full chunk; then 555 again, a reminder of 46, back to 555, and on.
    expect(acks).toEqual([46, 46, 555, 555, 46, 555, 47]);
  });

  test("two different packets with one number end the transfer", () => {
    const machine = opened(new MemorySink());
    machine.handleDatagram(packet(43, 4, FULL), CLIENT, 10);
    machine.handleDatagram(packet(43, 4, Buffer.alloc(512, "y")), CLIENT, 20);
    expect(machine.outcome).toMatchObject({ result: "failed", error: { code: "PROTOCOL_VIOLATION" } });
  });

  test("a client waits for the answer to its repetition before it goes on, or for silence", () => {
    for (const hasSecondAnswer of [true, false]) {
      const machine = client(Buffer.alloc(600, "x"));
      machine.handleDatagram(reply(43, 6, 17), SERVER, 100);
      expect(sentBy(machine).map(([flags]) => flags)).toEqual([2, 4]);
      machine.handleTimeout(500_100);
      expect(sentBy(machine)).toEqual([[4, 43, 0, 17]]);
      machine.handleDatagram(reply(555, 4, 17), SERVER, 600_000);
      expect(sentBy(machine)).toEqual([]);
      if (hasSecondAnswer) machine.handleDatagram(reply(555, 4, 17), SERVER, 650_000);
      else machine.handleTimeout(1_100_000);
      expect(sentBy(machine)).toEqual([[0, 555, 0, 17]]);
    }
  });

  test("a client asks where the server stands when an answer under a new id may be missing", () => {
    const machine = client(Buffer.alloc(600, "x"));
    machine.handleDatagram(reply(43, 6, 8), SERVER, 100);
    machine.handleTimeout(500_100);
    expect(sentBy(machine).map(([flags]) => flags)).toEqual([2, 4, 4]);
    // One answer to two packets: the other one may still be on its way and move the server on.
    machine.handleDatagram(reply(44, 4, 2), SERVER, 600_000);
    expect(sentBy(machine)).toEqual([]);
    machine.handleTimeout(1_100_000);
    expect(sentBy(machine)).toEqual([[4, 43, 0, 8]]);
    machine.handleDatagram(reply(46, 4, 2), SERVER, 1_200_000);
    expect(sentBy(machine)).toEqual([[4, 46, 0, 2]]);
  });
});

describe("bad networks", () => {
  const seeds = fc.integer({ min: 0, max: 0x7fff_ffff });
  const INPUT = text(6_000, 3);

  test("loss 0.3 both ways: always the whole file", () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const { client, server, output } = run(INPUT, {}, { seed, lossProbability: 0.3 });
        expect(sha256(output)).toBe(sha256(INPUT));
        expect(server.outcome).toEqual(COMPLETE);
        expect(["complete", "probably-complete"]).toContain(client.outcome?.result);
      }),
      { numRuns: 40 },
    );
  });

  test("loss, copies and reordering with ours at both ends: whole, or both say no", () => {
    fc.assert(
      fc.property(seeds, fc.boolean(), fc.integer({ min: 0, max: 3 }), (seed, digest, kind) => {
        const input = [INPUT, MIXED, text(700), text(100)][kind];
        const { client, server, output } = run(
          input,
          { digest },
          {
            seed,
            lossProbability: 0.3,
            duplicateProbability: 0.2,
            delayUs: [100, 300_000],
          },
        );
        if (server.outcome?.result === "complete") expect(sha256(output)).toBe(sha256(input));
        if (client.outcome?.result === "complete") {
          expect(server.outcome).toEqual(COMPLETE);
          expect(sha256(output)).toBe(sha256(input));
        }
      }),
      { numRuns: 60 },
    );
  });

  test("an original client, loss and copies: our server never says complete for a wrong file", () => {
    fc.assert(
      fc.property(seeds, fc.integer({ min: 0, max: 4 }), (seed, kind) => {
        const input = [INPUT, text(700), Buffer.from("caf\u00e9"), Buffer.alloc(40), text(100)][kind];
        const { server, output } = run(
          input,
          { client: "original" },
          {
            seed,
            lossProbability: 0.2,
            duplicateProbability: 0.1,
            delayUs: [100, 50_000],
          },
        );
        if (server.outcome?.result === "complete") expect(sha256(output)).toBe(sha256(input));
      }),
      { numRuns: 60 },
    );
  });

  test("an original server and loss: the whole file, or our client says no", () => {
    fc.assert(
      fc.property(seeds, (seed) => {
        const { client, output } = run(INPUT, { server: "original" }, { seed, lossProbability: 0.3 });
        if (client.outcome?.result === "complete") expect(sha256(output)).toBe(sha256(INPUT));
      }),
      { numRuns: 60 },
    );
  });

  test("garbage neither stops nor crashes either end", () => {
    fc.assert(
      fc.property(
        seeds,
        fc.array(fc.uint8Array({ maxLength: 600 }), { maxLength: 40 }),
        fc.array(
          fc.record({
            sequence: fc.integer({ min: -10, max: 210_000 }),
            acknowledgement: fc.integer({ min: -10, max: 210_000 }),
            connectionId: fc.integer({ min: 0, max: 20 }),
            flags: fc.integer({ min: 0, max: 8 }),
            isShort: fc.boolean(),
          }),
          { maxLength: 40 },
        ),
        (seed, raw, headers) => {
          const world = new ClassicWorld({ seed });
          const sink = new MemorySink();
          const machine = server(sink);
          world.add(SERVER, machine);
          const packets = [
            ...raw,
            ...headers.map((header) => tcplikePacket(header, header.isShort ? 12 : 524)),
          ];
          for (const [i, bytes] of packets.entries()) {
            world.inject("203.0.113.5:1", SERVER, bytes, i * 150);
            world.inject("203.0.113.5:1", CLIENT, bytes, i * 150);
          }
          world.add(CLIENT, client(INPUT));
          expect(world.run(HOUR_US)).toBe(true);
          // A stranger may take the session before our client does; it never makes a wrong file.
          if (machine.outcome?.result === "complete" && sink.bytes.length > 0)
            expect(sha256(sink.bytes)).toBe(sha256(INPUT));
        },
      ),
      { numRuns: 100 },
    );
  });
});

describeClassicSystem({
  name: "tcplike, extended",
  create: (content, random) => {
    const sink = new MemorySink();
    const drawConnectionId = (): number => random.integer(1, 20);
    return {
      server: new TcplikeServer({ sink, drawConnectionId, createHash: newHash, limitBytes: 1e9 }, 0),
      client: client(content, { server: SUITE_SERVER, digest: newHash().update(content).digest() }),
      published: () => (sink.state === "committed" ? sink.bytes : undefined),
      openSinks: () => (sink.state === "open" ? 1 : 0),
    };
  },
  sizes: [0, 1, 511, 512, 513, 10_000],
  badNetworkBytes: 4_000,
  limitUs: HOUR_US,
});
