import { describe, expect, test } from "vitest";
import { AckTracker } from "./ack-tracker.ts";
import { ECN } from "../wire/batch.ts";

const DELAY_US = 25_000;

/** A tracker that received these ack-eliciting packets, all at the same time. */
function receive(numbers: readonly number[], tracker = new AckTracker(DELAY_US), nowUs = 1_000): AckTracker {
  for (const number of numbers)
    if (!tracker.isDuplicate(number)) tracker.handleReceived(number, true, ECN.notEct, nowUs);
  return tracker;
}

const upTo = (count: number, first = 0): number[] => Array.from({ length: count }, (_, i) => first + i);

describe("when an ACK is due, RFC 9000 §13.2", () => {
  test("every second ack-eliciting packet, or after the delay", () => {
    const tracker = receive([0]);
    expect([tracker.isDue(1_000), tracker.dueTimeUs]).toEqual([false, 26_000]);
    expect(tracker.isDue(26_000)).toBe(true);
    receive([1], tracker, 5_000);
    expect(tracker.isDue(5_000)).toBe(true);
    expect(tracker.handleAckSent()).toBe(1);
    expect([tracker.isDue(1e9), tracker.hasNews]).toEqual([false, false]);
  });

  test("packets with only acknowledgements ask for none", () => {
    const tracker = new AckTracker(DELAY_US);
    for (let number = 0; number < 10; number++) tracker.handleReceived(number, false, ECN.notEct, 0);
    expect([tracker.dueTimeUs, tracker.hasNews]).toEqual([undefined, false]);
  });

  test.each([1, 2, 3])("a run of %d packets in order counts as they do one by one", (count) => {
    const together = receive([0, 4]);
    together.handleAckSent();
    together.handleReceivedRun(count, ECN.ect0, 2_000);
    const oneByOne = receive([0, 4]);
    oneByOne.handleAckSent();
    for (const number of upTo(count, 5)) oneByOne.handleReceived(number, true, ECN.ect0, 2_000);
    expect(together).toEqual(oneByOne);
    // Ranges 0 and from 4 on; the second packet makes an ACK due.
    expect(together.ranges().toArray()).toEqual([
      [0, 1],
      [4, 5 + count],
    ]);
    expect([together.dueTimeUs, together.ecn.ect0]).toEqual([count < 2 ? 27_000 : 2_000, count]);
  });

  test("a gap, a late packet and a congestion mark are told at once", () => {
    expect(receive([0, 2]).isDue(1_000)).toBe(true);
    const late = receive([0, 1, 3]);
    late.handleAckSent();
    expect(receive([2], late).isDue(1_000)).toBe(true);
    const marked = new AckTracker(DELAY_US);
    marked.handleReceived(0, true, ECN.ce, 0);
    expect([marked.isDue(0), marked.ecn]).toEqual([true, { ect0: 0, ect1: 0, ce: 1 }]);
  });

  test("the peer's latest request sets the rhythm", () => {
    const tracker = new AckTracker(DELAY_US);
    tracker.handleAckFrequency(2, 10, 4_000, 0);
    tracker.handleAckFrequency(1, 1, 1_000, 1);
    receive(upTo(9), tracker);
    expect([tracker.isDue(1_000), tracker.dueTimeUs]).toEqual([false, 5_000]);
    receive([12], tracker); // the tenth; the gap says nothing with a reordering threshold of 0
    expect(tracker.isDue(1_000)).toBe(true);
  });

  test("the delay counts from the largest packet", () => {
    const tracker = receive([0, 1], undefined, 1_000);
    expect(tracker.delayUs(1_700)).toBe(700);
  });
});

describe("duplicates and replay", () => {
  test("a number is new once", () => {
    const tracker = receive([5, 7]);
    expect([4, 5, 6, 7, 8].map((number) => tracker.isDuplicate(number))).toEqual([
      false,
      true,
      false,
      true,
      false,
    ]);
  });

  test("65 536 numbers behind the largest are still judged, older ones are refused", () => {
    const tracker = receive([0, 70_000]);
    // The window is the 65 536 numbers up to the largest: 4 465 to 70 000.
    expect([4_464, 4_465].map((number) => tracker.isDuplicate(number))).toEqual([true, false]);
  });

  test("of more than 4 096 ranges the oldest are forgotten, and refused as replays", () => {
    const tracker = receive(upTo(4_100).map((i) => 2 * i));
    // Ranges 0, 2, 4, 6 went; what lies below range 8 can no longer be told from a replay.
    expect([1, 5, 6, 7, 9].map((number) => tracker.isDuplicate(number))).toEqual([
      true,
      true,
      true,
      false,
      false,
    ]);
  });
});

describe("what an ACK reports", () => {
  test("everything, while the ranges fit one frame", () => {
    expect(receive([0, 1, 2, 5, 6]).ranges().toArray()).toEqual([
      [0, 3],
      [5, 7],
    ]);
  });

  test("only the newest 64 ranges", () => {
    const ranges = receive(upTo(100).map((i) => 2 * i)).ranges();
    expect([ranges.rangeCount, ranges.startAt(0), ranges.end]).toEqual([64, 72, 199]);
  });

  test("late arrivals far behind are reported although 64 newer ranges exist", () => {
    const tracker = receive(upTo(100).map((i) => 2 * i));
    tracker.handleAckSent();
    receive([3, 21], tracker);
    const reported = tracker.ranges();
    expect([2, 3, 4, 20, 21, 22, 198].map((number) => reported.has(number))).toEqual(Array(7).fill(true));
    expect([1, 5, 19, 23].map((number) => reported.has(number))).toEqual(Array(4).fill(false));
    expect(reported.rangeCount).toBeLessThanOrEqual(64);
  });

  test("what the peer knows that we have is not repeated, RFC 9000 §13.2.4", () => {
    const tracker = receive([0, 2, 4, 10]);
    tracker.handleAckSent();
    tracker.handleAckAcked(10);
    receive([12], tracker);
    expect(tracker.ranges().toArray()).toEqual([
      [10, 11],
      [12, 13],
    ]);
    receive([3], tracker);
    expect(tracker.ranges().has(3)).toBe(true);
  });
});
