import { describe, expect, test } from "vitest";
import { ReceiveWindow, SendCredit } from "./flow-control.ts";

describe("the sender's credit", () => {
  test("counts new bytes up to the largest limit it was told", () => {
    const credit = new SendCredit(100);
    credit.use(60);
    credit.raiseLimit(50);
    expect([credit.availableBytes, credit.sentBytes, credit.needsBlockedReport]).toEqual([40, 60, false]);
    credit.use(40);
    expect([credit.availableBytes, credit.needsBlockedReport]).toEqual([0, true]);
    expect(credit.takeBlockedReport()).toBe(100);
    expect(credit.needsBlockedReport).toBe(false);
    credit.handleBlockedReportLost(100);
    expect(credit.needsBlockedReport).toBe(true);
    credit.raiseLimit(101);
    expect([credit.availableBytes, credit.needsBlockedReport]).toEqual([1, false]);
    credit.handleBlockedReportLost(100);
    credit.use(1);
    expect(credit.takeBlockedReport()).toBe(101);
  });
});

describe("the receiver's window", () => {
  const RTT_US = 1_000;

  test("announces in steps of an eighth, from the bytes consumed", () => {
    const window = new ReceiveWindow(800, 800);
    window.handleReceived(500);
    window.consume(99, RTT_US, 10);
    expect([window.needsAnnouncement, window.limit, window.heldBytes]).toEqual([false, 800, 401]);
    window.consume(1, RTT_US, 20);
    expect([window.needsAnnouncement, window.takeAnnouncement(), window.needsAnnouncement]).toEqual([
      true,
      900,
      false,
    ]);
    window.handleAnnouncementLost();
    expect([window.needsAnnouncement, window.takeAnnouncement()]).toEqual([true, 900]);
  });

  test("refuses a byte over the limit", () => {
    const window = new ReceiveWindow(100, 100);
    window.handleReceived(100);
    expect(() => window.handleReceived(1)).toThrow(expect.objectContaining({ code: "FLOW_CONTROL" }));
  });

  test("doubles when a window was consumed within two round trips, not when it took longer", () => {
    const window = new ReceiveWindow(100, 350);
    const use = (nowUs: number): boolean => {
      const bytes = window.windowBytes;
      window.handleReceived(bytes);
      return window.consume(bytes, RTT_US, nowUs);
    };
    expect([use(1_999), window.windowBytes]).toEqual([true, 200]);
    expect([use(1_999 + 2_000), window.windowBytes]).toEqual([false, 200]);
    expect([use(4_000), window.windowBytes]).toEqual([true, 350]);
    expect([use(4_001), window.windowBytes]).toEqual([false, 350]);
  });

  test("credit that came to nothing is given again, and stragglers of it are let in", () => {
    const window = new ReceiveWindow(100, 100);
    window.handleReceived(60);
    window.consume(60, RTT_US, 1e9);
    window.handleBlocked(160);
    expect(window.limit).toBe(260);
    window.handleReceived(100);
    // 260 are received or forgiven: the limit. The forgiven hundred may still trickle in, once.
    window.handleReceived(100);
    expect(() => window.handleReceived(1)).toThrow(expect.objectContaining({ code: "FLOW_CONTROL" }));
  });

  test("a report beyond the limit, or of what arrived, changes nothing", () => {
    const window = new ReceiveWindow(100, 100);
    window.handleReceived(60);
    window.handleBlocked(101);
    window.handleBlocked(60);
    expect([window.limit, window.receivedBytes]).toEqual([100, 60]);
  });
});
