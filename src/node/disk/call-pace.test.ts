import { describe, expect, test } from "vitest";
import { CallPace } from "./call-pace.ts";

/** Calls in a row that go to threads. */
function threadCalls(pace: CallPace): number {
  let calls = 0;
  while (!pace.takeTurn()) calls++;
  return calls;
}

describe("whether short calls are made at once", () => {
  test("quick ones are, without end", () => {
    const pace = new CallPace();
    let atOnce = 0;
    for (let i = 0; i < 10_000; i++) {
      if (pace.takeTurn()) atOnce++;
      pace.handleCalls(5);
    }
    expect(atOnce).toBe(10_000);
  });

  test("a disk that takes longer than a thread loses them, for twice as long each time it is tried in vain", () => {
    const pace = new CallPace();
    // 5 ms of credit, 1 ms a call, of which a thread would have cost 50 us: the sixth is too much.
    for (let i = 0; i < 6; i++) {
      expect(pace.takeTurn()).toBe(true);
      pace.handleCalls(1_000);
    }
    expect(threadCalls(pace)).toBe(64);
    pace.handleCalls(1_000);
    expect(threadCalls(pace)).toBe(128);
    for (let i = 0; i < 20; i++) {
      pace.handleCalls(1_000);
      threadCalls(pace);
    }
    pace.handleCalls(1_000);
    expect(threadCalls(pace)).toBe(4_096);
  });

  test("a single call that stands still is enough", () => {
    const pace = new CallPace();
    pace.handleCalls(60_000);
    expect(threadCalls(pace)).toBe(64);
  });

  test("one that was interrupted now and then is not", () => {
    const pace = new CallPace();
    for (let i = 0; i < 1_000; i++) {
      pace.handleCalls(i % 100 === 0 ? 20_000 : 5);
      expect(pace.takeTurn()).toBe(true);
    }
  });

  test("a page counts as its entries", () => {
    const pace = new CallPace();
    for (let i = 0; i < 1_000; i++) {
      pace.handleCalls(1_280, 128);
      expect(pace.takeTurn()).toBe(true);
    }
  });
});
