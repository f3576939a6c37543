/** One process at a time changes a state file: a lock file beside it, made with O_EXCL, held for milliseconds. */
import { randomBytes } from "node:crypto";
import { closeSync, constants, openSync, renameSync, statSync, unlinkSync } from "node:fs";
import { GodwitError } from "../../base/errors.ts";

/** Age at which a lock was left by a process that died: thousands of times what a change takes, in milliseconds. */
const STALE_MS = 10_000;

/** How long to wait for others: longer than a stale lock lives, in milliseconds. */
const WAIT_MS = 15_000;

/** Longest pause between two attempts, in milliseconds. */
const PAUSE_MS = 20;

const sleeper = new Int32Array(new SharedArrayBuffer(4));

/**
 * Runs `work` while no other process runs one for the same `path`, and returns what it returns.
 *
 * @throws GodwitError CONFIGURATION when the lock cannot be made, and what `work` throws.
 */
export function withFileLock<Value>(path: string, work: () => Value): Value {
  const lock = `${path}.lock`;
  const giveUpAt = performance.now() + WAIT_MS;
  while (!tryLock(lock)) {
    removeStale(lock);
    if (performance.now() > giveUpAt)
      throw new GodwitError("CONFIGURATION", `${lock} stays; if no godwit is running, remove it`, { path });
    // Different pauses, so that two processes do not meet again and again.
    Atomics.wait(sleeper, 0, 0, 1 + (randomBytes(1)[0] / 256) * PAUSE_MS);
  }
  try {
    return work();
  } finally {
    try {
      unlinkSync(lock);
    } catch {
      // Taken for stale by another process after a long pause of this one.
    }
  }
}

function tryLock(lock: string): boolean {
  try {
    closeSync(
      openSync(
        lock,
        constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | (constants.O_NOFOLLOW ?? 0),
        0o600,
      ),
    );
    return true;
  } catch (error) {
    const cause = error as NodeJS.ErrnoException;
    // Windows says EPERM while a file that was removed is still open somewhere.
    if (cause.code === "EEXIST" || (process.platform === "win32" && cause.code === "EPERM")) return false;
    throw new GodwitError("CONFIGURATION", `cannot write ${lock}: ${cause.code ?? cause.message}`, {
      path: lock,
      cause,
    });
  }
}

/** Removes the lock of a process that died. Renamed first: of several that see it, one gets it. */
function removeStale(lock: string): void {
  try {
    const seen = statSync(lock);
    if (Date.now() - seen.mtimeMs < STALE_MS) return;
    const taken = `${lock}.${randomBytes(6).toString("hex")}.old`;
    renameSync(lock, taken);
    // Another process may have removed it and locked anew in between: then that lock goes back.
    if (statSync(taken).ino === seen.ino) unlinkSync(taken);
    else renameSync(taken, lock);
  } catch {
    // Gone already.
  }
}
