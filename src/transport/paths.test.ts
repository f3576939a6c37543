import { describe, expect, test } from "vitest";
import { SeededRandom } from "../base/random.ts";
import { Paths } from "./paths.ts";

const random = new SeededRandom(1);
const HOME = Int32Array.from([0, 0, 0xffff, 0x0a00_0001, 4_639, 0]);
const REBOUND = Int32Array.from([0, 0, 0xffff, 0x0a00_0001, 50_000, 0]);
const AWAY = Int32Array.from([0, 0, 0xffff, 0x0a00_0002, 4_639, 0]);

function paths(): Paths {
  return new Paths(HOME, true, (target) => random.bytes(target));
}

describe("moving, RFC 9000 §9", () => {
  test("the newest packet from elsewhere is answered by a challenge; the answer moves the connection", () => {
    const subject = paths();
    expect(subject.handleReceived(AWAY, 0, 500, false, 0)).toBe(false); // an old packet moves nothing
    expect(subject.handleReceived(AWAY, 0, 500, true, 1_000)).toBe(true);
    const challenge = subject.takeChallenge(1_200, 100, 1_000);
    expect([...(subject.candidateAddress ?? [])]).toEqual([...AWAY]);
    expect([...subject.current]).toEqual([...HOME]);
    expect(subject.handleResponse(new Uint8Array(8), 0, 2_000)).toBeUndefined();
    expect(subject.handleResponse(challenge!, 0, 3_000)).toEqual({ isRebinding: false, tookUs: 2_000 });
    expect([...subject.current]).toEqual([...AWAY]);
    expect(subject.candidateAddress).toBeUndefined();
  });

  test("only another port is a rebinding", () => {
    const subject = paths();
    subject.handleReceived(REBOUND, 0, 500, true, 0);
    const challenge = subject.takeChallenge(1_200, 100, 0)!;
    expect(subject.handleResponse(challenge, 0, 50)).toEqual({ isRebinding: true, tookUs: 50 });
  });

  test("challenges are repeated with doubled pauses, five times, then the address is given up", () => {
    const subject = paths();
    subject.handleReceived(AWAY, 0, 5_000, true, 0);
    const sentAt: number[] = [];
    for (let nowUs = 0; nowUs <= 4_000; nowUs += 100)
      if (subject.takeChallenge(1_200, 100, nowUs) !== undefined) sentAt.push(nowUs);
    expect(sentAt).toEqual([0, 100, 300, 700, 1_500]);
    expect(subject.candidateAddress).toBeUndefined();
  });

  test("an address that is not validated gets at most three times what came from it", () => {
    const subject = paths();
    subject.handleReceived(AWAY, 0, 100, true, 0);
    let sent = 0;
    for (let nowUs = 0; nowUs < 5_000; nowUs += 100)
      if (subject.takeChallenge(1_200, 100, nowUs) !== undefined) sent += subject.challengeDatagramBytes;
    expect(sent).toBeGreaterThan(0);
    expect(sent).toBeLessThanOrEqual(300);
  });

  test("the peer's own newer packets from its address end the doubt a forwarder raised", () => {
    const subject = paths();
    subject.handleReceived(AWAY, 0, 5_000, true, 0);
    subject.takeChallenge(1_200, 100, 0);
    subject.takeChallenge(1_200, 100, 100);
    subject.handleReceived(HOME, 0, 100, true, 200);
    expect(subject.candidateAddress).toBeUndefined();
  });
});

test("of 300 challenges 256 wait for an answer, in order, each to where it came from", () => {
  const subject = paths();
  const data = new Uint8Array(8);
  for (let i = 0; i < 300; i++) {
    data[0] = i & 0xff;
    subject.handleChallenge(data, 0, i % 2 === 0 ? HOME : AWAY, 0, 1_200);
  }
  expect(subject.droppedResponses).toBe(44);
  let count = 0;
  for (; subject.hasResponse; count++) {
    const slot = subject.responseSlot;
    expect(subject.responseSource[slot * 8]).toBe(count);
    expect(subject.responseAddresses[slot * 6 + 3]).toBe(count % 2 === 0 ? HOME[3] : AWAY[3]);
    subject.dropResponse();
  }
  expect(count).toBe(256);
});
