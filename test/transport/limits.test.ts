import { describe, expect, test } from "vitest";
import {
  FRAME,
  writeDataHeader,
  writeNumber,
  writePathData,
  writeStreamHeader,
} from "../../src/wire/frames.ts";
import { writeVarint } from "../../src/base/bytes.ts";
import { readTruncatedPacketNumber } from "../../src/wire/header.ts";
import { MemorySink, patternBytes } from "./memory-objects.ts";
import { Pair } from "./pair.ts";
import { Rogue } from "./rogue.ts";

const KIBIBYTE = 1_024;

/** Frames that acknowledge exactly packet `largest`. */
function ackOf(largest: number): (bytes: Uint8Array, at: number) => number {
  return (bytes, at) => {
    bytes[at] = FRAME.ack;
    at = writeVarint(bytes, at + 1, largest);
    for (let i = 0; i < 3; i++) at = writeVarint(bytes, at, 0);
    return at;
  };
}

/** Sends a last packet into a path of 20 ms that is dark for so long; how many milliseconds later it is there. */
function lastPacketAfterDark(darkUs: number): number {
  const pair = new Pair({ forward: { delayUs: 10_000 }, backward: { delayUs: 10_000 } });
  pair.send(1, patternBytes(1, 1_000));
  pair.runUntil(() => pair.initiator.source.isDelivered, 1_000);
  pair.forward.configure({ lossProbability: 1 });
  const bytes = patternBytes(2, 500);
  pair.send(2, bytes);
  pair.world.runFor(darkUs);
  pair.forward.configure({ lossProbability: 0 });
  return pair.runUntil(() => pair.responder.sink.holds(2, bytes), 1_000);
}

describe("flow control of file data", () => {
  test("stops at the window and goes on when bytes are consumed", () => {
    const pair = new Pair({
      forward: { delayUs: 5_000 },
      responder: { receiveWindowBytes: 64 * KIBIBYTE, receiveWindowMaxBytes: 64 * KIBIBYTE },
    });
    const { sink, connection } = pair.responder;
    sink.handleNew = () => {};
    const bytes = patternBytes(1, 200 * KIBIBYTE);
    pair.send(1, bytes);
    pair.world.runFor(2_000_000);
    expect(sink.newBytes).toBe(64 * KIBIBYTE);
    expect(connection.heldObjectBytes).toBe(64 * KIBIBYTE);
    const { limitedUs } = pair.initiator.connection.statistics(pair.world.nowUs);
    expect(limitedUs["flow-control"]).toBeGreaterThan(1_900_000);
    sink.handleNew = (count, nowUs) => connection.consumeObjectBytes(count, nowUs);
    connection.consumeObjectBytes(64 * KIBIBYTE, pair.world.nowUs);
    pair.responder.host.poke();
    expect(pair.runUntil(() => sink.holds(1, bytes), 5_000)).toBeLessThan(100);
  });

  test("the window doubles when it is the limit, up to its cap", () => {
    // 100 ms round trip, 64 KiB window: 0.6 MB/s; the link would carry 10 MB/s.
    const pair = new Pair({
      forward: { delayUs: 50_000, rateBytesPerSecond: 10_000_000, queueBytes: 2_000_000 },
      responder: { receiveWindowBytes: 64 * KIBIBYTE, receiveWindowMaxBytes: 4 * 1_024 * KIBIBYTE },
    });
    const bytes = patternBytes(1, 16 * 1_024 * KIBIBYTE);
    pair.send(1, bytes);
    // 1.7 s of data, 6 doublings of at most two round trips each; without growth it would be 26 s.
    expect(pair.runUntil(() => pair.responder.sink.isComplete(1), 30_000)).toBeLessThan(4_000);
    expect(pair.responder.connection.statistics(pair.world.nowUs).receiveWindowBytes).toBeGreaterThanOrEqual(
      1_024 * KIBIBYTE,
    );
  });

  test("windows of one byte work", () => {
    const pair = new Pair({
      forward: { delayUs: 1_000 },
      responder: {
        receiveWindowBytes: 1,
        receiveWindowMaxBytes: 1,
        streamLimits: { windowBytes: 1, peerStreams: 1 },
      },
    });
    const bytes = patternBytes(2, 20);
    pair.send(1, bytes);
    const id = pair.initiator.connection.openStream();
    pair.initiator.connection.writeStream(id, bytes, true);
    const read: number[] = [];
    const peer = pair.responder.connection;
    const tookMs = pair.runUntil(() => {
      if (peer.takeReadableStreams().length > 0) {
        read.push(...(peer.readStream(id) ?? []));
        pair.responder.host.poke();
      }
      return peer.isStreamFinished(id) && pair.responder.sink.holds(1, bytes);
    }, 5_000);
    expect(read).toEqual([...bytes]);
    // One byte a round trip of 2 ms, and the acknowledgement delay of at most 25 ms never waited for.
    expect(tookMs).toBeLessThan(100);
  });

  test("bytes that were withdrawn or refused do not use up the window for good", () => {
    const pair = new Pair({
      seed: 3,
      forward: { delayUs: 5_000, lossProbability: 0.2, rateBytesPerSecond: 1_000_000 },
      responder: { receiveWindowBytes: 32 * KIBIBYTE, receiveWindowMaxBytes: 32 * KIBIBYTE },
    });
    for (let object = 1; object <= 20; object++) {
      if (object % 2 === 0) pair.responder.sink.refused.add(object);
      pair.send(object, patternBytes(object, 32 * KIBIBYTE));
      pair.world.runFor(15_000);
      pair.initiator.source.cancel(object);
    }
    const bytes = patternBytes(21, 100 * KIBIBYTE);
    pair.send(21, bytes);
    expect(pair.runUntil(() => pair.responder.sink.holds(21, bytes), 20_000)).toBeLessThan(5_000);
  });

  test("a peer that sends over the limit is cut off", () => {
    const pair = new Pair({ responder: { receiveWindowBytes: 1_000, receiveWindowMaxBytes: 1_000 } });
    pair.responder.sink.expect(1, 10_000);
    pair.responder.sink.handleNew = () => {};
    new Rogue(pair).send((bytes, at) => writeDataHeader(bytes, at, 1, 0, 1_001) + 1_001);
    expect(pair.responder.connection.closeReason?.code).toBe("FLOW_CONTROL");
    pair.world.runFor(100_000);
    expect(pair.initiator.connection.closeReason?.code).toBe("FLOW_CONTROL");
  });
});

describe("a peer that breaks the rules is cut off and told why", () => {
  function verdict(act: (rogue: Rogue, pair: Pair) => void): string | undefined {
    const pair = new Pair({ forward: { delayUs: 1_000 } });
    act(new Rogue(pair), pair);
    return pair.responder.connection.closeReason?.code;
  }

  test("an ACK of a number never sent", () => {
    expect(verdict((rogue) => rogue.send(ackOf(5_000)))).toBe("PROTOCOL_VIOLATION");
  });

  test("an ACK of a number left out on purpose", () => {
    const pair = new Pair({ forward: { delayUs: 5_000, rateBytesPerSecond: 5_000_000 } });
    let largest = 0;
    pair.world.watch((datagram, _from, _to, host) => {
      if (host === pair.responder.host) largest = readTruncatedPacketNumber(datagram, 0);
    });
    const bytes = patternBytes(1, 2_000 * KIBIBYTE);
    pair.initiator.sink.expect(1, bytes.length);
    pair.responder.source.add(1, bytes);
    pair.responder.host.poke();
    // The rogue acknowledges everything up to the newest packet; one in 500 was left out on average.
    const rogue = new Rogue(pair, 100_000);
    pair.forward.configure({ lossProbability: 1 });
    for (let i = 0; i < 1_000 && pair.responder.connection.state === "established"; i++) {
      rogue.send((bytes, at) => {
        bytes[at++] = FRAME.ack;
        for (const value of [largest, 0, 0, largest]) at = writeVarint(bytes, at, value);
        return at;
      });
      pair.world.runFor(1_000);
    }
    expect(pair.responder.connection.closeReason?.code).toBe("PROTOCOL_VIOLATION");
    expect(pair.responder.connection.closeReason?.message).toContain("left out");
  });

  test("a stream over the limit", () => {
    // 64 streams may be open: 126 is the last that the initiator may use.
    const open = (id: number) => (rogue: Rogue) =>
      rogue.send((bytes, at) => writeStreamHeader(bytes, at, id, 0, 1, false) + 1);
    expect(verdict(open(126))).toBeUndefined();
    expect(verdict(open(128))).toBe("PROTOCOL_VIOLATION");
    expect(verdict(open(1))).toBe("PROTOCOL_VIOLATION");
  });

  test("bytes beyond a stream's window", () => {
    const send = (offset: number) => (rogue: Rogue) =>
      rogue.send((bytes, at) => writeStreamHeader(bytes, at, 0, offset, 1, false) + 1);
    expect(verdict(send(256 * KIBIBYTE - 1))).toBeUndefined();
    expect(verdict(send(256 * KIBIBYTE))).toBe("FLOW_CONTROL");
  });

  test("more than 1 000 gaps in a stream", () => {
    const send = (gaps: number) => (rogue: Rogue) => {
      for (let i = 1; i <= gaps; i++)
        rogue.send((bytes, at) => writeStreamHeader(bytes, at, 0, 2 * i, 1, false) + 1);
    };
    expect(verdict(send(1_000))).toBeUndefined();
    expect(verdict(send(1_001))).toBe("PROTOCOL_VIOLATION");
  });

  test("an unknown frame, and file data nobody asked for", () => {
    expect(
      verdict((rogue) =>
        rogue.send((bytes, at) => {
          bytes[at] = 0x3f;
          return at + 1;
        }),
      ),
    ).toBe("DECODE");
    expect(
      verdict((rogue, pair) => {
        pair.responder.connection.setObjectSink(undefined);
        rogue.send((bytes, at) => writeDataHeader(bytes, at, 1, 0, 1) + 1);
      }),
    ).toBe("PROTOCOL_VIOLATION");
  });

  test("retiring a connection id that was never given", () => {
    const retire = (sequence: number) => (rogue: Rogue) =>
      rogue.send((bytes, at) => writeNumber(bytes, at, FRAME.retireConnectionId, sequence));
    expect(verdict(retire(0))).toBeUndefined();
    expect(verdict(retire(9))).toBe("PROTOCOL_VIOLATION");
  });
});

describe("what a peer can force", () => {
  test("of a thousand challenges at once, 256 are answered", () => {
    const pair = new Pair({ forward: { delayUs: 1_000 } });
    const rogue = new Rogue(pair);
    // The real initiator must not see acknowledgements of the rogue's packets.
    pair.backward.configure({ lossProbability: 1 });
    let responses = 0;
    pair.world.watch((_datagram, _from, _to, host) => {
      if (host === pair.responder.host) responses++;
    });
    rogue.send((bytes, at) => {
      for (let i = 0; i < 140; i++) at = writePathData(bytes, at, FRAME.pathChallenge, new Uint8Array(8));
      return at;
    });
    expect(responses).toBeGreaterThanOrEqual(140);
    responses = 0;
    const { connection } = pair.responder;
    // Three packets before the responder gets to send: 420 challenges.
    pair.responder.host.pause(1_000_000);
    for (let i = 0; i < 3; i++)
      rogue.send((bytes, at) => {
        for (let j = 0; j < 140; j++) at = writePathData(bytes, at, FRAME.pathChallenge, new Uint8Array(8));
        return at;
      });
    pair.world.runFor(2_000_000);
    expect(responses).toBeGreaterThanOrEqual(256);
    expect(responses).toBeLessThan(256 + 10);
    expect(connection.state).toBe("established");
  });

  test("an address that is not validated gets at most three times what came from it", () => {
    const pair = new Pair({ forward: { delayUs: 1_000 } });
    const rogue = new Rogue(pair);
    pair.backward.configure({ lossProbability: 1 });
    const stranger = new Int32Array([0x2001_0db8, 0, 0, 99, 4_000, 0]);
    let sentBytes = 0;
    pair.world.watch((datagram, _from, to, host) => {
      if (host === pair.responder.host && to[3] === 99) sentBytes += datagram.length;
    });
    // One packet of 13 + 1 + 16 bytes plus padding to 100: at most 300 bytes may come back.
    rogue.send((bytes, at) => {
      bytes[at] = FRAME.ping;
      return at + 71;
    }, stranger);
    pair.world.runFor(5_000_000);
    expect(sentBytes).toBeGreaterThan(0);
    expect(sentBytes).toBeLessThanOrEqual(300);
    expect(pair.responder.connection.state).toBe("established");
  });

  test("replayed packets change nothing", () => {
    const recorded: Uint8Array[] = [];
    const pair = new Pair({ forward: { delayUs: 1_000 } });
    pair.world.watch((datagram, _from, _to, host) => {
      if (host === pair.initiator.host) recorded.push(datagram.slice());
    });
    // Small enough that no queue overflows: a packet that was lost would be new when it is replayed.
    const bytes = patternBytes(1, 60 * KIBIBYTE);
    pair.send(1, bytes);
    pair.runUntil(() => pair.initiator.source.isDelivered, 5_000);
    pair.world.runFor(100_000);
    expect(pair.initiator.connection.statistics(pair.world.nowUs).packetsLost).toBe(0);
    const before = pair.responder.connection.statistics(pair.world.nowUs);
    const { initiator, responder } = pair;
    for (const datagram of recorded) {
      pair.world.inject(datagram, initiator.host.publicAddress, responder.host.publicAddress, [pair.forward]);
      pair.world.runFor(2_000);
    }
    const after = pair.responder.connection.statistics(pair.world.nowUs);
    expect(after.packetsDuplicate - before.packetsDuplicate).toBe(recorded.length);
    expect(after.packetsReceived).toBe(before.packetsReceived);
    expect(after.packetsSent).toBe(before.packetsSent);
  });

  test("one key seals no more packets than allowed", () => {
    const keyLimits = { updatePackets: 1e9, confidentialityPackets: 300, integrityPackets: 1e9 };
    const pair = new Pair({ forward: { delayUs: 1_000 }, initiator: { keyLimits } });
    pair.send(1, patternBytes(1, 2_000 * KIBIBYTE));
    pair.runUntil(() => pair.initiator.connection.state !== "established", 5_000);
    expect(pair.initiator.connection.closeReason?.code).toBe("AEAD_LIMIT");
    pair.world.runFor(100_000);
    // What could not be sealed any more did not leave.
    expect(pair.responder.connection.statistics(pair.world.nowUs).packetsNotAuthentic).toBe(0);
  });

  test("too many packets that fail to open end the connection", () => {
    const keyLimits = { updatePackets: 1e9, confidentialityPackets: 1e9, integrityPackets: 50 };
    const pair = new Pair({
      seed: 5,
      forward: { delayUs: 1_000, corruptProbability: 0.5 },
      backward: { delayUs: 1_000 },
      responder: { keyLimits },
    });
    pair.send(1, patternBytes(1, 500 * KIBIBYTE));
    pair.runUntil(() => pair.responder.connection.state !== "established", 5_000);
    expect(pair.responder.connection.closeReason?.code).toBe("AEAD_LIMIT");
  });
});

describe("small is quick", () => {
  test("1 000 objects of 1 KiB take no round trip each", () => {
    const pair = new Pair({ forward: { delayUs: 50_000, rateBytesPerSecond: 10_000_000 } });
    for (let object = 0; object < 1_000; object++) pair.send(object, patternBytes(object, KIBIBYTE));
    const tookMs = pair.runUntil(() => pair.initiator.source.isDelivered, 10_000);
    // 1 MB from a cold start: some 7 round trips of 100 ms for the window to open.
    expect(tookMs).toBeLessThan(1_000);
    for (let object = 0; object < 1_000; object += 99)
      expect(pair.responder.sink.holds(object, patternBytes(object, KIBIBYTE))).toBe(true);
  });

  test("the last packet lost costs half a round trip where nothing speaks against loss", () => {
    // The copy leaves after 10 ms and takes 10 ms more, less the 8 ms that passed.
    const tookMs = lastPacketAfterDark(8_000);
    expect(tookMs).toBeGreaterThanOrEqual(12);
    expect(tookMs).toBeLessThan(14);
  });

  test("the last packet lost with its copy costs a probe, not a long wait", () => {
    // Two round trips and the ACK delay, 65 ms, from the copy at 10 ms to the probe; it carries the data:
    // 10 ms more, less the 18 ms that passed. A probe without data would only start the search: 20 ms more.
    const tookMs = lastPacketAfterDark(18_000);
    expect(tookMs).toBeGreaterThan(60);
    expect(tookMs).toBeLessThan(78);
  });
});

describe("the end", () => {
  test("close tells the peer code and reason, even if the first CLOSE is lost", () => {
    const pair = new Pair({ forward: { delayUs: 10_000, rateBytesPerSecond: 1_000_000 } });
    const bytes = patternBytes(1, 200 * KIBIBYTE);
    pair.send(1, bytes);
    pair.world.runFor(50_000);
    pair.backward.configure({ lossProbability: 1 });
    pair.responder.connection.close("NO_SPACE", "disk full", pair.world.nowUs);
    pair.responder.host.poke();
    pair.world.runFor(1_000);
    pair.backward.configure({ lossProbability: 0 });
    expect(pair.responder.connection.state).toBe("closing");
    pair.runUntil(() => pair.initiator.connection.state !== "established", 2_000);
    expect(pair.initiator.connection.state).toBe("draining");
    expect(pair.initiator.connection.closeReason).toMatchObject({ code: "NO_SPACE", message: "disk full" });
    // Three probe timeouts; the queue of 100 ms makes them up to a second each.
    expect(pair.runUntil(() => pair.initiator.connection.state === "closed", 5_000)).toBeLessThan(3_000);
    expect(pair.runUntil(() => pair.responder.connection.state === "closed", 5_000)).toBeLessThan(3_000);
    // All ids go back: the first one and those issued later.
    expect(pair.responder.released).toHaveLength(pair.responder.issued.length + 1);
  });

  test("an end without an error has no reason to tell", () => {
    const pair = new Pair({ forward: { delayUs: 10_000 } });
    pair.initiator.connection.close(undefined, "", pair.world.nowUs);
    pair.initiator.host.poke();
    pair.runUntil(() => pair.responder.connection.state === "draining", 1_000);
    expect(pair.responder.connection.closeReason).toBeUndefined();
    expect(pair.initiator.connection.closeReason).toBeUndefined();
  });

  test("silence ends with IDLE_TIMEOUT, a heartbeat prevents it", () => {
    const times = { idleTimeoutUs: 10_000_000 };
    const silent = new Pair({ forward: { delayUs: 10_000 }, initiator: times });
    silent.world.runFor(9_900_000);
    expect(silent.responder.connection.state).toBe("established");
    silent.world.runFor(300_000);
    expect(silent.responder.connection.closeReason?.code).toBe("IDLE_TIMEOUT");
    const kept = new Pair({ forward: { delayUs: 10_000 }, initiator: { ...times, keepAliveUs: 5_000_000 } });
    kept.world.runFor(60_000_000);
    expect(kept.responder.connection.state).toBe("established");
    const beats = kept.initiator.connection.takeEvents().filter(({ type }) => type === "heartbeat");
    expect(beats.length).toBeGreaterThanOrEqual(10);
    expect(beats[0]).toMatchObject({ rttUs: 20_000 });
  });
});

test("a sink that refuses an object counts none of its bytes", () => {
  const sink = new MemorySink();
  sink.refused.add(1);
  expect(sink.handlePiece(1, 0, new Uint8Array(4), 0, 4, 0)).toBe(0);
});

describe("packets before the application knows of a connection", () => {
  test("sixteen are held, the rest is dropped and comes again", () => {
    const pair = new Pair({ forward: { delayUs: 5_000 } });
    const { connection, sink } = pair.responder;
    const inside = connection as unknown as { isAccepted: boolean; early: { count: number } };
    inside.isAccepted = false;
    const bytes = patternBytes(2, 200 * KIBIBYTE);
    pair.send(1, bytes);
    pair.world.runFor(500_000);
    expect([inside.early.count, sink.newBytes]).toEqual([16, 0]);
    connection.accept();
    pair.responder.host.poke();
    expect(pair.runUntil(() => sink.holds(1, bytes), 20_000)).toBeLessThan(5_000);
    expect(inside.early.count).toBe(0);
  });
});
