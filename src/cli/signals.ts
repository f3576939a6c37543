/** Ctrl-C and TERM: the first one ends the transfer in order, the second one the process. */

/** What came of the signals. */
export interface Signals {
  /** Aborts at the first signal. */
  readonly signal: AbortSignal;
  /** 128 + the number of the first signal, or `undefined` when none came. */
  exitStatus(): number | undefined;
}

const NUMBERS = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;

/** Longest time an orderly end may take, in milliseconds. */
const ORDERLY_END_MS = 2_000;

/** Begins to watch for signals. */
export function watchSignals(): Signals {
  const controller = new AbortController();
  let exitStatus: number | undefined;
  for (const name of Object.keys(NUMBERS) as (keyof typeof NUMBERS)[]) {
    process.on(name, () => {
      if (exitStatus !== undefined) process.exit(exitStatus);
      exitStatus = 128 + NUMBERS[name];
      controller.abort();
      // State on disk is valid at every moment: nothing is lost by leaving now.
      setTimeout(() => process.exit(exitStatus), ORDERLY_END_MS).unref();
    });
  }
  return { signal: controller.signal, exitStatus: () => exitStatus };
}
