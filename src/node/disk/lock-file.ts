/**
 * Lock files: who holds one is written in it as process id and start time, so that a lock left by
 * a process that is gone, even if its id was given to another one since, is taken over.
 */
import { constants, closeSync, openSync, readFileSync, readSync, unlinkSync, writeSync } from "node:fs";

const heldHere = new Set<string>();

/** When a process started, in the platform's units, or `""` where it cannot be told. */
function startTimeOf(processId: number): string {
  try {
    const text = readFileSync(`/proc/${processId}/stat`, "latin1");
    // The command name may hold anything, so fields are counted from its closing parenthesis: proc(5), field 22.
    return text.slice(text.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  } catch {
    return "";
  }
}

function isAlive(processId: number): boolean {
  try {
    process.kill(processId, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function isHeldByTheLiving(text: string): boolean {
  const match = /^(\d{1,10}) (\d*)\n$/.exec(text);
  if (match === null) return false;
  const processId = Number(match[1]);
  if (processId === process.pid || !isAlive(processId)) return false;
  const startTime = startTimeOf(processId);
  return startTime === "" || match[2] === "" || startTime === match[2];
}

function readLock(path: string): string {
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const buffer = Buffer.alloc(64);
    return buffer.toString("latin1", 0, readSync(descriptor, buffer, 0, 64, 0));
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Takes the lock at `path`; `key` names it within this process.
 *
 * @throws an error with code `EBUSY` when a living process holds it, or the system's error.
 */
export function takeLock(path: string, key: string): void {
  const busy = Object.assign(new Error("EBUSY"), { code: "EBUSY" });
  if (heldHere.has(key)) throw busy;
  for (let attempt = 0; attempt < 3; attempt++) {
    try {
      const descriptor = openSync(
        path,
        constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
        0o600,
      );
      try {
        writeSync(descriptor, `${process.pid} ${startTimeOf(process.pid)}\n`);
      } finally {
        closeSync(descriptor);
      }
      heldHere.add(key);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    let text: string;
    try {
      text = readLock(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") continue;
      throw error;
    }
    if (isHeldByTheLiving(text)) throw busy;
    try {
      unlinkSync(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  throw busy;
}

/** Gives a lock back and removes its file; an absent file is fine. */
export function releaseLock(path: string, key: string): void {
  heldHere.delete(key);
  try {
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}
