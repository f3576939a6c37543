/** Makes a directory and those above it. */
import { mkdirSync, statSync } from "node:fs";
import { dirname } from "node:path";

/**
 * Makes `location` with whatever is missing above it. Not `mkdirSync` with `recursive`: where making a name
 * in an existing directory fails with ENOENT, as below /proc, that never returns (Node 20).
 *
 * @param mode - Permission bits of what is made, before the process's mask.
 * @returns the uppermost directory made, `undefined` if all were there.
 * @throws the system's error; ENOTDIR when something that is no directory is in the way.
 */
export function makeDirectories(location: string, mode = 0o777): string | undefined {
  if (isDirectory(location)) return undefined;
  const above = dirname(location);
  const uppermost = above === location ? undefined : makeDirectories(above, mode);
  try {
    mkdirSync(location, mode);
  } catch (error) {
    // Another program was quicker.
    if (!isDirectory(location)) throw error;
    return uppermost;
  }
  return uppermost ?? location;
}

/** @throws the system's error, ENOTDIR for what is there and is no directory; `false` for what is missing. */
function isDirectory(location: string): boolean {
  const status = statSync(location, { throwIfNoEntry: false });
  if (status === undefined) return false;
  if (status.isDirectory()) return true;
  throw Object.assign(new Error(`ENOTDIR: not a directory, mkdir '${location}'`), { code: "ENOTDIR" });
}
