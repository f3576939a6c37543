import { expect, test } from "vitest";
import { quorumOf } from "./policy.ts";
import { compareWaiting, ReceiverState } from "./receiver-state.ts";

test("a quorum in receivers or percent, rounded up", () => {
  expect(quorumOf("3", 8)).toBe(3);
  expect(quorumOf("50%", 7)).toBe(4);
  expect(quorumOf("100%", 7)).toBe(7);
  for (const text of ["0", "9", "0%", "101%", "-1", "1.5", "all", ""])
    expect(() => quorumOf(text, 8)).toThrow("a quorum is");
});

test("who is next: least left first, then never tried, then silent ones, laggards last", () => {
  const states = [0, 1, 2, 3, 4, 5].map((index) => new ReceiverState(index));
  const [laggard, silent, fresh, begun, nearlyDone, fresh2] = states;
  Object.assign(laggard, { isDemoted: true, wasConnected: true, totalBytes: 10, verifiedBytes: 9 });
  silent.attempts = 1;
  Object.assign(begun, { wasConnected: true, totalBytes: 100, verifiedBytes: 10 });
  Object.assign(nearlyDone, { wasConnected: true, totalBytes: 100, verifiedBytes: 90 });
  expect(states.toSorted(compareWaiting)).toEqual([nearlyDone, begun, fresh, fresh2, silent, laggard]);
});
