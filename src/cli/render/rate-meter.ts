/** The rate over the last seconds, from a count that only grows. */

/** Length of the window in milliseconds. */
const WINDOW_MS = 3_000;

/** Smooths a growing count into a rate. */
export class RateMeter {
  private readonly samples: { readonly atMs: number; readonly count: number }[] = [];

  /** Takes the count at `atMs` and returns the rate per second over the last three seconds. */
  add(count: number, atMs: number): number {
    const { samples } = this;
    samples.push({ atMs, count });
    while (samples.length > 2 && samples[1].atMs <= atMs - WINDOW_MS) samples.shift();
    const first = samples[0];
    const spanMs = atMs - first.atMs;
    return spanMs <= 0 ? 0 : ((count - first.count) * 1_000) / spanMs;
  }
}
