import { describe, expect, test } from "vitest";
import { ReceiveWindow } from "./flow-control.ts";
import { ReceiveBudget, type ReceiveLease } from "./receive-budget.ts";

const MIB = 1024 * 1024;

function joined(budget: ReceiveBudget): ReceiveLease {
  const lease = budget.join();
  if (lease === undefined) throw new Error("no place");
  return lease;
}

describe("the memory that all connections share", () => {
  test("200 connections have 768 KiB each for themselves, and there is no 201st", () => {
    const budget = new ReceiveBudget();
    const leases = Array.from({ length: 200 }, () => joined(budget));
    expect(budget.join()).toBeUndefined();
    expect(budget.committedBytes).toBe((150 + 16) * MIB);
    // 90 MiB are left beside 16 MiB of buffers: an even share besides 512 KiB is 460 KiB and 819 bytes.
    for (const lease of leases) expect(lease.fit(64 * MIB, 0)).toBe(524_288 + 471_859);
    expect(budget.committedBytes).toBeLessThanOrEqual(256 * MIB);
    expect(budget.committedBytes).toBeGreaterThan(255 * MIB);
    leases[0].leave();
    leases[0].leave();
    expect(joined(budget).fit(0, 0)).toBe(0);
  });

  test("one gets the largest window, two share, and the first gives back as it is used", () => {
    const budget = new ReceiveBudget();
    const first = joined(budget);
    expect(first.fit(64 * MIB, 0)).toBe(64 * MIB);
    const others = [joined(budget), joined(budget), joined(budget)];
    // 90 MiB among four: 22.5 MiB and the least part. What the first was granted is not taken back at once.
    const share = 23 * MIB;
    expect(first.fit(64 * MIB, 64 * MIB)).toBe(share);
    expect(first.windowBytes).toBe(64 * MIB);
    expect(others.map((lease) => lease.fit(16 * MIB, 0))).toEqual([16 * MIB, 11.5 * MIB, 0.5 * MIB]);
    expect(budget.committedBytes).toBe(256 * MIB - 196 * 0.75 * MIB);
    expect(first.fit(64 * MIB, 30 * MIB)).toBe(share);
    expect(first.windowBytes).toBe(30 * MIB);
    expect(others[2].fit(64 * MIB, 0)).toBe(23 * MIB);
  });

  test("a window with a part of it never grants more than the part, and shrinks by use", () => {
    const budget = new ReceiveBudget(3 * MIB, 2);
    const lease = joined(budget);
    const window = new ReceiveWindow(MIB / 2, 64 * MIB);
    window.share(lease, 16 * MIB);
    // 3 MiB less twice 768 KiB are 1.5 MiB to be shared.
    expect(window.limit).toBe(2 * MIB);
    const other = joined(budget);
    expect(other.fit(16 * MIB, 0)).toBe(MIB / 2);
    window.handleReceived(2 * MIB);
    expect(() => window.handleReceived(1)).toThrow("over the limit");
    // A share is now 512 + 768 KiB: nothing is granted before less than that is outstanding.
    window.consume(0.75 * MIB, 1_000, 10);
    expect(window.limit).toBe(2 * MIB);
    window.consume(0.25 * MIB, 1_000, 20);
    expect(window.limit).toBe(2.25 * MIB);
    expect(other.fit(16 * MIB, 0)).toBe(1.25 * MIB);
    expect(budget.committedBytes).toBe(3 * MIB);
  });
});
