import { describe, expect, test } from "vitest";
import { Pair } from "./pair.ts";
import { patternBytes } from "./memory-objects.ts";

const MEBIBYTE = 1_024 * 1_024;

describe("a clean path", () => {
  test("moves an object at the rate of the link", () => {
    // 4 MiB at 5 MB/s are 839 ms of payload; headers take 5 %, start-up a few of the 20 ms round trips.
    const pair = new Pair({
      forward: { rateBytesPerSecond: 5_000_000, delayUs: 10_000, queueBytes: 5_000_000 },
    });
    const bytes = patternBytes(1, 4 * MEBIBYTE);
    pair.send(1, bytes);
    const tookMs = pair.runUntil(() => pair.responder.sink.isComplete(1), 10_000);
    expect(pair.responder.sink.holds(1, bytes)).toBe(true);
    expect(tookMs).toBeLessThan(1_200);
    pair.runUntil(() => pair.initiator.source.isDelivered, 1_000);
    expect(pair.initiator.source.isDelivered).toBe(true);
    const statistics = pair.initiator.connection.statistics(pair.world.nowUs);
    expect(statistics.retransmittedBytes).toBe(0);
  });

  test("a sender is held while the window is full, and not when all was sent", () => {
    const pair = new Pair({ forward: { delayUs: 10_000 } });
    const { connection, source } = pair.initiator;
    expect(connection.isHeld).toBe(false);
    pair.send(1, patternBytes(5, MEBIBYTE));
    // The first window goes out, and its answer takes 20 ms: nothing may go in between.
    expect(pair.runUntil(() => connection.isHeld, 1_000)).toBeLessThan(11);
    pair.runUntil(() => source.isDelivered, 5_000);
    expect(connection.isHeld).toBe(false);
    expect(pair.responder.connection.isHeld).toBe(false);
  });

  test("streams arrive in order and end", () => {
    const pair = new Pair({ forward: { delayUs: 10_000 } });
    const { connection } = pair.initiator;
    const id = connection.openStream();
    expect(connection.writeStream(id, patternBytes(2, 1_000), true)).toBe(1_000);
    const peer = pair.responder.connection;
    const tookMs = pair.runUntil(
      () => peer.isStreamFinished(id) || peer.takeReadableStreams().length > 0,
      1_000,
    );
    expect(tookMs).toBe(10);
    expect(peer.readStream(id)).toEqual(patternBytes(2, 1_000));
    expect(peer.isStreamFinished(id)).toBe(true);
    expect(pair.runUntil(() => connection.isStreamDelivered(id), 1_000)).toBeLessThan(50);
  });
});

test("a connection held by its window is not once it closes: its owner still has files to close", () => {
  const pair = new Pair({ forward: { delayUs: 50_000, rateBytesPerSecond: 1_250_000 } });
  const { connection } = pair.initiator;
  pair.send(1, patternBytes(1, 4 * MEBIBYTE));
  pair.runUntil(() => false, 1_000);
  expect(connection.isHeld).toBe(true);
  connection.close("NO_PROGRESS", "gone", pair.world.nowUs);
  expect(connection.isHeld).toBe(false);
});

describe("while the peer thinks about an offer", () => {
  /** Packets that the peer got in 300 ms of a path of 100 ms and 10 Mbit/s, all waiting. */
  function packetsAfterOffer(offeredBytes: number): number {
    const pair = new Pair({ forward: { delayUs: 50_000, rateBytesPerSecond: 1_250_000 } });
    const { connection, source } = pair.initiator;
    pair.runUntil(() => false, 1_000);
    const before = connection.statistics(pair.world.nowUs).packetsSent;
    source.offeredBytes = offeredBytes;
    connection.writeStream(connection.openStream(), patternBytes(2, 100), false);
    pair.runUntil(() => false, 300);
    return connection.statistics(pair.world.nowUs).packetsSent - before;
  }

  test("the path is asked for its rate with ten packets, once, if a MiB waits", () => {
    const small = packetsAfterOffer(MEBIBYTE - 1);
    expect(small).toBeLessThan(5);
    expect(packetsAfterOffer(MEBIBYTE)).toBe(small + 10);
  });

  test("what it tells opens the window before the first byte of data", () => {
    const pair = new Pair({ forward: { delayUs: 50_000, rateBytesPerSecond: 1_250_000 } });
    const { connection, source } = pair.initiator;
    source.offeredBytes = MEBIBYTE;
    connection.writeStream(connection.openStream(), patternBytes(2, 100), false);
    pair.runUntil(() => false, 300);
    // 86 packets of 1 452 bytes fill the path; what the burst tells is believed to three quarters.
    const { congestionWindowBytes } = connection.statistics(pair.world.nowUs);
    expect(congestionWindowBytes).toBeGreaterThan(0.6 * 125_000);
    expect(congestionWindowBytes).toBeLessThan(0.8 * 125_000);
  });
});

describe("a bad path", () => {
  /** Moves `size` bytes and returns the virtual time in milliseconds; fails if they differ. */
  function transfer(pair: Pair, size: number, limitMs: number): number {
    const bytes = patternBytes(3, size);
    pair.send(1, bytes);
    const tookMs = pair.runUntil(
      () => pair.responder.sink.isComplete(1) && pair.initiator.source.isDelivered,
      limitMs,
    );
    expect(pair.responder.sink.holds(1, bytes)).toBe(true);
    return tookMs;
  }

  test("30 % loss each way", () => {
    // 2 MiB at 2.5 MB/s: 840 ms; 1/0.7 of it has to be sent, and a tail piece may be lost five times (2^5 PTO).
    const pair = new Pair({
      seed: 7,
      forward: { rateBytesPerSecond: 2_500_000, delayUs: 15_000, lossProbability: 0.3 },
    });
    expect(transfer(pair, 2 * MEBIBYTE, 30_000)).toBeLessThan(8_000);
  });

  test("half of the packets late by twice the delay", () => {
    const pair = new Pair({
      seed: 8,
      forward: {
        rateBytesPerSecond: 2_500_000,
        delayUs: 10_000,
        reorderProbability: 0.5,
        reorderDelayUs: 20_000,
        queueBytes: 4_000_000,
      },
    });
    expect(transfer(pair, 2 * MEBIBYTE, 30_000)).toBeLessThan(3_000);
  });

  test("duplicates, corruption, truncation, replay and junk", () => {
    const pair = new Pair({
      seed: 9,
      forward: {
        rateBytesPerSecond: 2_500_000,
        delayUs: 10_000,
        duplicateProbability: 0.2,
        corruptProbability: 0.05,
        truncateProbability: 0.02,
        replayProbability: 0.05,
        junkProbability: 0.05,
      },
    });
    expect(transfer(pair, 2 * MEBIBYTE, 30_000)).toBeLessThan(5_000);
    const statistics = pair.responder.connection.statistics(pair.world.nowUs);
    expect(statistics.packetsDuplicate).toBeGreaterThan(100);
    expect(statistics.packetsNotAuthentic).toBeGreaterThan(20);
  });

  test("a blackout of 5 s: the transfer goes on when the path returns", () => {
    const pair = new Pair({
      seed: 10,
      forward: {
        rateBytesPerSecond: 2_500_000,
        delayUs: 10_000,
        blackholes: [{ fromUs: 300_000, untilUs: 5_300_000 }],
      },
    });
    // 840 ms of data, 5 s of darkness, and at most one probe interval of 1 s until the light is seen.
    expect(transfer(pair, 2 * MEBIBYTE, 30_000)).toBeLessThan(7_500);
    const events = pair.initiator.connection.takeEvents().map(({ type }) => type);
    expect(events).toContain("path-silent");
    expect(events).toContain("path-returned");
  });

  test("key updates every 200 packets, both ways, under loss and reordering", () => {
    const keyLimits = { updatePackets: 200, confidentialityPackets: 4_000, integrityPackets: 1e9 };
    const pair = new Pair({
      seed: 11,
      forward: {
        rateBytesPerSecond: 2_500_000,
        delayUs: 10_000,
        lossProbability: 0.05,
        reorderProbability: 0.05,
        reorderDelayUs: 10_000,
      },
      initiator: { keyLimits },
      responder: { keyLimits },
    });
    expect(transfer(pair, 8 * MEBIBYTE, 60_000)).toBeLessThan(8_000);
    const statistics = pair.initiator.connection.statistics(pair.world.nowUs);
    // About 7 400 packets; an update waits for three probe timeouts, some 200 ms, after the one before.
    expect(statistics.keyUpdates).toBeGreaterThan(8);
    expect(pair.responder.connection.statistics(pair.world.nowUs).packetsNotAuthentic).toBe(0);
  });

  test("a NAT that forgets: the port changes three times, nothing is lost", () => {
    const pair = new Pair({ seed: 12, forward: { rateBytesPerSecond: 2_500_000, delayUs: 10_000 } });
    const bytes = patternBytes(3, 4 * MEBIBYTE);
    pair.send(1, bytes);
    for (let i = 0; i < 3; i++) {
      pair.world.runFor(300_000);
      pair.initiator.host.rebind();
    }
    // 1.7 s of data and one round trip of lost acknowledgements for each move.
    expect(pair.runUntil(() => pair.initiator.source.isDelivered, 20_000)).toBeLessThan(3_000);
    expect(pair.responder.sink.holds(1, bytes)).toBe(true);
    expect(pair.responder.connection.statistics(pair.world.nowUs).pathChanges).toBe(3);
  });

  test("a move to another network while the mover is the receiver", () => {
    const pair = new Pair({
      seed: 13,
      forward: { rateBytesPerSecond: 2_500_000, delayUs: 10_000 },
      responder: { keepAliveUs: 500_000 },
    });
    const bytes = patternBytes(3, 4 * MEBIBYTE);
    pair.send(1, bytes);
    pair.world.runFor(300_000);
    pair.responder.host.move();
    expect(pair.runUntil(() => pair.initiator.source.isDelivered, 20_000)).toBeLessThan(6_000);
    expect(pair.responder.sink.holds(1, bytes)).toBe(true);
    expect(pair.initiator.connection.statistics(pair.world.nowUs).pathChanges).toBe(1);
  });

  test("a path that is gone for good ends with NO_PROGRESS after the patience, not before", () => {
    const pair = new Pair({
      forward: {
        delayUs: 10_000,
        blackholes: [{ fromUs: 100_000, untilUs: 1e12 }],
        rateBytesPerSecond: 1_000_000,
      },
      initiator: { patienceUs: 20_000_000 },
    });
    pair.send(1, patternBytes(3, MEBIBYTE));
    const tookMs = pair.runUntil(() => pair.initiator.connection.state === "closed", 100_000);
    expect(pair.initiator.connection.closeReason?.code).toBe("NO_PROGRESS");
    expect(tookMs).toBeGreaterThan(20_000);
    expect(tookMs).toBeLessThan(20_200);
    pair.runUntil(() => pair.responder.connection.state === "closed", 100_000);
    expect(pair.responder.connection.closeReason?.code).toBe("IDLE_TIMEOUT");
  });
});

describe("path MTU, RFC 8899", () => {
  const path = { rateBytesPerSecond: 2_500_000, delayUs: 10_000, queueBytes: 2_000_000 };

  test("finds what the path carries, up to the limit of both sides", () => {
    const found = (mtuBytes: number, limit: number, peerLimit = 65_507): number => {
      const pair = new Pair({
        limit,
        forward: { ...path, mtuBytes },
        backward: path,
        responder: { maxDatagramBytes: peerLimit },
      });
      pair.send(1, patternBytes(1, 2 * MEBIBYTE));
      pair.runUntil(() => pair.initiator.source.isDelivered, 20_000);
      expect(pair.responder.sink.isComplete(1)).toBe(true);
      return pair.initiator.connection.statistics(pair.world.nowUs).datagramBytes;
    };
    expect(found(1_500, 1_452)).toBe(1_452);
    expect(found(0, 8_952)).toBe(8_952);
    expect(found(0, 65_507)).toBe(65_507);
    expect(found(0, 65_507, 4_000)).toBe(4_000);
    // The search ends within 16 bytes of the truth.
    const narrow = found(1_380, 1_452);
    expect(narrow).toBeGreaterThan(1_380 - 16);
    expect(narrow).toBeLessThanOrEqual(1_380);
    expect(found(1_200, 1_452)).toBe(1_200);
  });

  test("a path that shrinks mid-transfer is noticed within 5 s", () => {
    const pair = new Pair({ limit: 1_452, forward: path });
    const bytes = patternBytes(1, 4 * MEBIBYTE);
    pair.send(1, bytes);
    pair.world.runFor(500_000);
    expect(pair.initiator.connection.statistics(pair.world.nowUs).datagramBytes).toBe(1_452);
    pair.forward.configure({ mtuBytes: 1_300 });
    const isSmaller = (): boolean =>
      pair.initiator.connection.statistics(pair.world.nowUs).datagramBytes <= 1_300;
    expect(pair.runUntil(isSmaller, 20_000)).toBeLessThan(5_000);
    expect(pair.runUntil(() => pair.initiator.source.isDelivered, 20_000)).toBeLessThan(10_000);
    expect(pair.responder.sink.holds(1, bytes)).toBe(true);
  });

  test("plain loss, however heavy, is not taken for a smaller path", () => {
    const pair = new Pair({ seed: 3, limit: 1_452, forward: { ...path, lossProbability: 0.3 } });
    pair.send(1, patternBytes(1, 3 * MEBIBYTE));
    pair.runUntil(() => pair.initiator.source.isDelivered, 60_000);
    const changes = pair.initiator.connection.takeEvents().filter(({ type }) => type === "path-mtu-changed");
    expect(changes.filter((change) => "reason" in change && change.reason === "black-hole")).toEqual([]);
  });
});

describe("wake after sleep", () => {
  test("a process that stood still for 20 s goes on where it was", () => {
    const pair = new Pair({ seed: 4, forward: { rateBytesPerSecond: 2_500_000, delayUs: 10_000 } });
    const bytes = patternBytes(1, 4 * MEBIBYTE);
    pair.send(1, bytes);
    pair.world.runFor(500_000);
    pair.responder.host.pause(20_000_000);
    pair.world.runFor(20_000_000);
    // 1.3 s of data are left; the sender probes at least once a second.
    expect(pair.runUntil(() => pair.initiator.source.isDelivered, 20_000)).toBeLessThan(4_000);
    expect(pair.responder.sink.holds(1, bytes)).toBe(true);
  });
});

describe("the next time to call", () => {
  /** A pair that has nothing to do, and the connection that is asked. */
  function quietPair(): { pair: Pair; connection: Pair["initiator"]["connection"] } {
    const pair = new Pair({ forward: { delayUs: 10_000 }, initiator: { keepAliveUs: 0 } });
    const { connection } = pair.initiator;
    pair.send(1, patternBytes(4, 5_000));
    pair.runUntil(() => pair.initiator.source.isDelivered, 1_000);
    // But for the idle timeout of 60 s.
    pair.runUntil(() => connection.nextTimeoutUs()! > pair.world.nowUs + 50_000_000, 2_000);
    return { pair, connection };
  }

  test("changes with the times to keep", () => {
    const { pair, connection } = quietPair();
    expect(connection.nextTimeoutUs()).toBeGreaterThan(pair.world.nowUs + 50_000_000);
    connection.setKeepAlive(1_000_000);
    const dueUs = connection.nextTimeoutUs()!;
    expect(dueUs).toBeLessThanOrEqual(pair.world.nowUs + 1_000_000);
    connection.setKeepAlive(300_000);
    expect(connection.nextTimeoutUs()).toBe(dueUs - 700_000);
    // The PING that is due then leaves, and is answered.
    const tookMs = pair.runUntil(
      () => connection.takeEvents().some(({ type }) => type === "heartbeat"),
      1_000,
    );
    expect(tookMs).toBeLessThanOrEqual(340);
  });

  test("changes with the end of the connection, before anything is sent", () => {
    const { pair, connection } = quietPair();
    expect(connection.nextTimeoutUs()).toBeGreaterThan(pair.world.nowUs + 50_000_000);
    connection.close(undefined, "", pair.world.nowUs);
    // RFC 9000 §10.2: three probe timeouts, of 20 ms and what ACKs may be late each.
    expect(connection.nextTimeoutUs()).toBeLessThan(pair.world.nowUs + 500_000);
  });
});
