/** This machine's clocks. */
import { performance } from "node:perf_hooks";

/** Microseconds on a clock that never steps; its start means nothing. */
export function monotonicNowUs(): number {
  return Math.floor(performance.now() * 1_000);
}

/** Microseconds since 1970 on the wall clock: for file times and receipts, never for waiting. */
export function wallNowUs(): number {
  return Date.now() * 1_000;
}
