import { expect, test } from "vitest";
import * as fc from "fast-check";
import { SENT, SentFrames } from "./sent-frames.ts";
import type { SentFrameHandler } from "./sent-frames.ts";

/** Writes down what it is told. */
class Recorder implements SentFrameHandler {
  log: string[] = [];

  handleFrameAcked(kind: number, a: number, b: number, c: number): void {
    this.log.push(`acked ${kind} ${a} ${b} ${c}`);
  }

  handleFrameLost(kind: number, a: number, b: number, c: number): void {
    this.log.push(`lost ${kind} ${a} ${b} ${c}`);
  }

  take(): string[] {
    return this.log.splice(0);
  }
}

test("each packet's fate is told once; a lost one may still arrive", () => {
  const frames = new SentFrames();
  const recorder = new Recorder();
  frames.begin(5);
  frames.add(SENT.data, 1, 2, 3);
  frames.add(SENT.stream, 4, 5, 6);
  frames.begin(7);
  frames.add(SENT.data, 7, 8, 9);
  frames.lost(5, recorder);
  frames.lost(5, recorder);
  expect(recorder.take()).toEqual(["lost 1 1 2 3", "lost 2 4 5 6"]);
  frames.acked(5, recorder);
  frames.acked(5, recorder);
  frames.acked(6, recorder);
  expect(recorder.take()).toEqual(["acked 1 1 2 3", "acked 2 4 5 6"]);
  expect(frames.outstandingCount).toBe(1);
});

test("probes repeat the oldest open packet, then the next, then the oldest again", () => {
  const frames = new SentFrames();
  const recorder = new Recorder();
  expect(frames.repeatOldest(recorder)).toBe(false);
  for (let number = 0; number < 4; number++) {
    frames.begin(number);
    frames.add(SENT.data, number, 0, 1);
  }
  frames.acked(1, recorder);
  recorder.take();
  for (let i = 0; i < 4; i++) frames.repeatOldest(recorder);
  expect(recorder.take()).toEqual(["lost 1 0 0 1", "lost 1 2 0 1", "lost 1 3 0 1", "lost 1 0 0 1"]);
  frames.acked(0, recorder);
  expect(recorder.take()).toEqual(["acked 1 0 0 1"]);
});

test("what somebody waits for: streams and data sent again, new data only on demand", () => {
  const frames = new SentFrames();
  const recorder = new Recorder();
  expect(frames.nextAwaited(0, true)).toBe(-1);
  const kinds = [SENT.ack, SENT.data, SENT.maxObjectData, SENT.dataAgain, SENT.stream, SENT.streamFinal];
  for (const [number, kind] of kinds.entries()) {
    frames.begin(number);
    frames.add(kind, 0, 0, 1);
  }
  expect(frames.nextAwaited(0, true)).toBe(1);
  expect(frames.nextAwaited(0, false)).toBe(3);
  expect(frames.nextAwaited(4, false)).toBe(4);
  frames.acked(4, recorder);
  expect(frames.nextAwaited(4, false)).toBe(5);
  expect(frames.nextAwaited(6, true)).toBe(-1);
  recorder.take();
  // A repeated packet stays open: its acknowledgement still counts.
  frames.repeat(3, recorder);
  frames.repeat(4, recorder);
  expect(recorder.take()).toEqual(["lost 17 0 0 1"]);
  frames.acked(3, recorder);
  expect(recorder.take()).toEqual(["acked 17 0 0 1"]);
});

test("ten thousand open packets are held, settled ones make room", () => {
  const frames = new SentFrames();
  const recorder = new Recorder();
  for (let number = 0; number < 10_000; number++) {
    frames.begin(number);
    frames.add(SENT.data, number, 1, 1);
    frames.add(SENT.data, number, 2, 1);
    frames.add(SENT.data, number, 3, 1);
  }
  for (let number = 0; number < 10_000; number++) {
    frames.acked(number, recorder);
    expect(recorder.take()).toEqual([
      `acked 1 ${number} 1 1`,
      `acked 1 ${number} 2 1`,
      `acked 1 ${number} 3 1`,
    ]);
  }
  expect(frames.trackedCount).toBe(0);
});

test("behaves as a map from numbers to lists", () => {
  const action = fc.record({
    skip: fc.nat(3),
    records: fc.nat(5),
    fate: fc.constantFrom("acked", "lost", "none"),
    back: fc.nat(40),
  });
  fc.assert(
    fc.property(fc.array(action, { maxLength: 400 }), (actions) => {
      const frames = new SentFrames();
      const recorder = new Recorder();
      const model = new Map<number, { state: string; count: number }>();
      let next = 0;
      for (const { skip, records, fate, back } of actions) {
        next += skip;
        frames.begin(next);
        for (let i = 0; i < records; i++) frames.add(SENT.data, next, i, 0);
        model.set(next, { state: "open", count: records });
        const target = next - back;
        const entry = model.get(target);
        next++;
        if (fate === "none") continue;
        if (fate === "acked") frames.acked(target, recorder);
        else frames.lost(target, recorder);
        const told = recorder.take();
        // A lost packet's records may have been forgotten to make room: then nothing is told of it.
        const isTold =
          entry !== undefined && (entry.state === "open" || (entry.state === "lost" && fate === "acked"));
        if (!isTold) expect(told).toEqual([]);
        else if (told.length > 0 || entry.state === "open") {
          expect(told).toEqual(Array.from({ length: entry.count }, (_, i) => `${fate} 1 ${target} ${i} 0`));
          entry.state = fate;
        }
      }
    }),
  );
});
