import { describe, expect, test } from "vitest";
import * as fc from "fast-check";
import { Pacer } from "./pacer.ts";

const DATAGRAM = 1_200;

/** Sends full datagrams whenever the pacer allows, woken exactly when asked; returns sending times. */
function run(pacer: Pacer, fromUs: number, untilUs: number, bytes = DATAGRAM): number[] {
  const sent: number[] = [];
  let nowUs = fromUs;
  while (nowUs <= untilUs) {
    const dueUs = pacer.nextSendTimeUs(nowUs);
    if (dueUs > nowUs) {
      nowUs = dueUs;
      continue;
    }
    pacer.handleSent(bytes, nowUs);
    sent.push(nowUs);
  }
  return sent;
}

describe("pacing", () => {
  test("without a rate nothing waits", () => {
    const pacer = new Pacer(DATAGRAM);
    expect(pacer.nextSendTimeUs(7)).toBe(7);
    expect(pacer.sendQuantumBytes(7)).toBe(Infinity);
  });

  test("a slow rate sends single datagrams, evenly", () => {
    const pacer = new Pacer(DATAGRAM);
    pacer.setRate(120_000, 0); // one datagram in 10 ms
    expect(run(pacer, 0, 50_000)).toEqual([0, 10_000, 20_000, 30_000, 40_000, 50_000]);
  });

  test("a fast rate sends bursts of one millisecond", () => {
    const pacer = new Pacer(DATAGRAM);
    pacer.setRate(12_000_000, 0); // ten datagrams in 1 ms
    const sent = run(pacer, 0, 9_999);
    const bursts = new Map<number, number>();
    for (const at of sent) bursts.set(at, (bursts.get(at) ?? 0) + 1);
    // The first datagram goes at once; then the debt of one (100 us) and a millisecond less one datagram.
    expect([...bursts.keys()].slice(0, 3)).toEqual([0, 1_000, 2_000]);
    expect([...bursts.values()].slice(0, 3)).toEqual([1, 10, 10]);
    expect(sent.length).toBe(91);
  });

  test("a late wake-up catches up with four milliseconds, no more", () => {
    const pacer = new Pacer(DATAGRAM);
    pacer.setRate(12_000_000, 0);
    pacer.handleSent(DATAGRAM, 0);
    expect(pacer.sendQuantumBytes(0)).toBe(0);
    expect(pacer.sendQuantumBytes(3_100)).toBe(31 * DATAGRAM);
    expect(pacer.sendQuantumBytes(1_000_000)).toBe(41 * DATAGRAM);
  });

  test("a tiny rate never starves: one datagram a second", () => {
    const pacer = new Pacer(DATAGRAM);
    pacer.setRate(1, 0);
    expect(run(pacer, 0, 3_000_000)).toEqual([0, 1_000_000, 2_000_000, 3_000_000]);
  });

  test("debt made at a tiny rate does not hold up a faster one", () => {
    const pacer = new Pacer(DATAGRAM);
    pacer.setRate(1_200, 0);
    pacer.handleSent(DATAGRAM, 0);
    pacer.setRate(1_200_000, 0);
    expect(pacer.nextSendTimeUs(0)).toBe(1_000);
  });
});

test("as a cap: no window of time carries more than its rate, the catch-up and one datagram", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2_000, max: 50_000_000 }),
      fc.array(fc.record({ waitUs: fc.nat(20_000), bytes: fc.integer({ min: 1, max: DATAGRAM }) }), {
        maxLength: 200,
      }),
      (rate, wishes) => {
        const pacer = new Pacer(DATAGRAM);
        pacer.setRate(rate, 0);
        const sent: { atUs: number; bytes: number }[] = [];
        let nowUs = 0;
        for (const { waitUs, bytes } of wishes) {
          nowUs += waitUs;
          if (pacer.nextSendTimeUs(nowUs) > nowUs) continue;
          pacer.handleSent(bytes, nowUs);
          sent.push({ atUs: nowUs, bytes });
        }
        for (let from = 0; from < sent.length; from++) {
          let total = 0;
          for (let to = from; to < sent.length; to++) {
            total += sent[to].bytes;
            const seconds = (sent[to].atUs - sent[from].atUs) / 1e6;
            // 4 ms of catch-up and one datagram that may overdraw.
            expect(total).toBeLessThanOrEqual(rate * (seconds + 0.004) + DATAGRAM + 1e-6);
          }
        }
      },
    ),
    { numRuns: 200 },
  );
});
