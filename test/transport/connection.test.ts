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
