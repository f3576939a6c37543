/** Waiting on the real event loop, for suites that run on real sockets. */

/** Lets the event loop turn until `condition` holds; rejects after many turns without it. */
export async function untilTrue(condition: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + 20_000;
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
