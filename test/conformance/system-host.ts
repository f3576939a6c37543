/** Waiting on the real event loop, for suites that run on real sockets. */
import { networkInterfaces } from "node:os";

/** Whether this machine has an IPv6 loopback address. Some containers have none. */
export function hasIpv6(): boolean {
  return Object.values(networkInterfaces()).some((list) => list?.some(({ address }) => address === "::1"));
}

/** Lets the event loop turn until `condition` holds; rejects when it does not for minutes. */
export async function untilTrue(condition: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + 240_000;
  while (!condition()) {
    if (performance.now() > deadlineMs) throw new Error("the awaited condition never came true");
    await nextTurn();
  }
}

/** Lets everything under way on loopback arrive: delivery there needs no time, only turns of the loop. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await nextTurn();
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
