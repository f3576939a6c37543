import { describe, expect, test } from "vitest";
import { EventQueue } from "../events/queue.ts";
import { Closing } from "./closing.ts";
import { Liveness } from "./liveness.ts";

const NEVER = { idleTimeoutUs: 0, patienceUs: 0, keepAliveUs: 0 };

describe("signs of life", () => {
  test("idle: counted from the latest packet received, and from the first one sent after it", () => {
    const subject = new Liveness(new EventQueue(), { ...NEVER, idleTimeoutUs: 1_000 }, 0);
    subject.handleReceived(500);
    expect(subject.timeoutUs).toBe(1_500);
    subject.handleSent(700);
    subject.handleSent(900); // RFC 9000 §10.1: only the first one counts
    expect([subject.check(1_699), subject.check(1_700)]).toEqual(["fine", "idle-timeout"]);
  });

  test("patience: counted from the last progress while something is due", () => {
    const subject = new Liveness(new EventQueue(), { ...NEVER, patienceUs: 1_000 }, 0);
    expect(subject.timeoutUs).toBeUndefined();
    subject.handleSent(100);
    subject.handleReceived(200); // says nothing about what we sent
    subject.handleProgress(true, 300);
    expect([subject.check(1_299), subject.check(1_300)]).toEqual(["fine", "no-progress"]);
    subject.handleProgress(false, 1_300);
    expect([subject.timeoutUs, subject.check(1e9)]).toEqual([undefined, "fine"]);
  });

  test("heartbeat: asked once per pause, and not while there is other traffic", () => {
    const subject = new Liveness(new EventQueue(), { ...NEVER, keepAliveUs: 1_000 }, 0);
    subject.handleReceived(600);
    expect([subject.check(1_599), subject.check(1_600), subject.check(1_601)]).toEqual([
      "fine",
      "ping",
      "fine",
    ]);
    subject.handleSent(1_700);
    expect([subject.check(2_699), subject.check(2_700)]).toEqual(["fine", "ping"]);
  });

  test("silence is told once, and its end", () => {
    const events = new EventQueue();
    const subject = new Liveness(events, NEVER, 0);
    subject.handleReceived(1_000_000);
    subject.handleSent(1_500_000);
    subject.check(3_499_999);
    expect(events.take()).toEqual([]);
    for (const nowUs of [3_500_000, 5_000_000]) subject.check(nowUs);
    subject.handleReceived(6_000_000);
    subject.handleReceived(6_000_001);
    expect(events.take()).toEqual([
      { type: "path-silent", sinceUs: 2_500_000 },
      { type: "path-returned", afterUs: 5_000_000 },
    ]);
  });
});

describe("the end, RFC 9000 §10.2", () => {
  test("CLOSE is repeated ever more rarely, and at most 17 times in all", () => {
    const closing = new Closing(new EventQueue());
    closing.close("NO_SPACE", "full", 100_000, 0);
    let sent = 0;
    const sentAfter: number[] = [];
    for (let packets = 0; packets <= 200_000; packets++) {
      if (packets > 0) closing.handlePacket();
      if (!closing.needsPacket) continue;
      expect(closing.takeFrame().code).toBe(0x18);
      sent++;
      if (packets < 20) sentAfter.push(packets);
    }
    expect(sentAfter).toEqual([0, 1, 2, 4, 8, 16]);
    expect(sent).toBe(17);
  });

  test("lasts three probe timeouts, at least 200 ms", () => {
    const slow = new Closing(new EventQueue());
    slow.close(undefined, "", 100_000, 1_000);
    expect(slow.timeoutUs).toBe(301_000);
    slow.handleTimeout(300_999);
    expect(slow.state).toBe("closing");
    slow.handleTimeout(301_000);
    expect([slow.state, slow.timeoutUs, slow.reason]).toEqual(["closed", undefined, undefined]);
    const quick = new Closing(new EventQueue());
    quick.close(undefined, "", 1_000, 0);
    expect(quick.timeoutUs).toBe(200_000);
  });

  test("the peer's CLOSE ends sending; its reason is kept unless we had one", () => {
    const events = new EventQueue();
    const closing = new Closing(events);
    closing.handleClose(
      0x18,
      Uint8Array.from("full", (letter) => letter.charCodeAt(0)),
      1_000,
      0,
    );
    closing.handlePacket();
    expect([closing.state, closing.needsPacket, closing.reason?.code, closing.reason?.message]).toEqual([
      "draining",
      false,
      "NO_SPACE",
      "full",
    ]);
    closing.close("INTERNAL", "later", 1_000, 0);
    expect(closing.reason?.code).toBe("NO_SPACE");
    expect(events.take()).toEqual([
      { type: "connection-closed", code: "NO_SPACE", reason: "full", initiatedBy: "peer" },
    ]);
  });

  test("a code of a later version reads as a peer that is gone", () => {
    const closing = new Closing(new EventQueue());
    closing.handleClose(0x7777, new Uint8Array(0), 1_000, 0);
    expect(closing.reason?.code).toBe("PEER_GONE");
  });
});
