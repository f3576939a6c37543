import { describe, expect, test } from "vitest";
import { Patience } from "./patience.ts";

const S = 1_000_000;
const HOUR = 3_600 * S;

function started(patienceUs?: number): Patience {
  const patience = new Patience();
  patience.setPatience(patienceUs);
  patience.look(0);
  return patience;
}

describe("patience with a peer that answers", () => {
  test("ends 60 s after the last progress", () => {
    const patience = started();
    expect(patience.nextUs(false)).toBe(60 * S);
    patience.handleProgress();
    expect([patience.check(false, 50 * S), patience.nextUs(false)]).toEqual(["fine", 110 * S]);
    expect([patience.check(false, 110 * S - 1), patience.check(false, 110 * S)]).toEqual([
      "fine",
      "no-progress",
    ]);
  });

  test("a peer that says it is working is waited for, half a day at most", () => {
    const patience = started();
    for (let at = 30; at < 12 * 3_600; at += 30) {
      patience.handlePeerWorking(at * S);
      expect(patience.check(false, at * S)).toBe("fine");
    }
    expect(patience.check(false, 12 * HOUR - 1)).toBe("fine");
    expect(patience.check(false, 12 * HOUR)).toBe("no-progress");
  });

  test("who is busy says so after 2 s of quiet and every 2 s, and does not blame the peer", () => {
    const patience = started();
    expect(patience.nextUs(true)).toBe(2 * S);
    expect([patience.check(true, 2 * S - 1), patience.check(true, 2 * S)]).toEqual(["fine", "say-working"]);
    expect([patience.check(true, 3 * S), patience.nextUs(true)]).toEqual(["fine", 4 * S]);
    expect(patience.check(true, 100 * S)).toBe("say-working");
    // From the end of the work the peer has the whole time again.
    patience.handleLocalProgress(101 * S);
    expect([patience.check(false, 161 * S - 1), patience.check(false, 161 * S)]).toEqual([
      "fine",
      "no-progress",
    ]);
  });

  test("is not shorter than 5 s, and 0 is for ever", () => {
    const short = started(S);
    expect([short.check(false, 5 * S - 1), short.check(false, 5 * S)]).toEqual(["fine", "no-progress"]);
    const endless = started(0);
    expect([endless.check(false, 100 * HOUR), endless.nextUs(false)]).toEqual(["fine", undefined]);
  });
});
