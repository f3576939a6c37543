/** Where godwit keeps its identity, known peers and resume state, and how safe that place must be. */
import { chmodSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { GodwitError } from "../../base/errors.ts";
import { makeDirectories } from "../make-directories.ts";

/**
 * The directory to use: `explicit` (from `--home`), else `GODWIT_HOME`, else the platform's convention.
 *
 * @throws GodwitError CONFIGURATION when there is no home directory to derive it from.
 */
export function homeDirectory(explicit?: string, environment: NodeJS.ProcessEnv = process.env): string {
  const named = explicit ?? environment["GODWIT_HOME"];
  if (named !== undefined && named !== "") return named;
  const appData = environment["APPDATA"];
  if (process.platform === "win32" && appData !== undefined) return join(appData, "godwit");
  const home = environment["HOME"] ?? homedir();
  if (home === undefined || home === "") {
    throw new GodwitError(
      "CONFIGURATION",
      "no home directory is set; name one with --home DIR or GODWIT_HOME",
    );
  }
  if (process.platform === "darwin") return join(home, "Library", "Application Support", "godwit");
  const config = environment["XDG_CONFIG_HOME"];
  return join(config !== undefined && config.startsWith("/") ? config : join(home, ".config"), "godwit");
}

/**
 * Makes the directory (mode 0700) when it is missing and checks that nobody else may write in it.
 *
 * @throws GodwitError CONFIGURATION when it cannot be made, INSECURE_KEY_FILE when others may write in it.
 */
export function ensureHome(directory: string): void {
  try {
    makeDirectories(directory, 0o700);
    const status = statSync(directory);
    if (!status.isDirectory()) throw new GodwitError("CONFIGURATION", `${directory} is not a directory`);
    if (process.platform !== "win32" && (status.mode & 0o022) !== 0) {
      throw new GodwitError(
        "INSECURE_KEY_FILE",
        `${directory} may be written by others; run: chmod 700 ${directory}`,
        { path: directory },
      );
    }
    if (process.platform !== "win32" && (status.mode & 0o055) !== 0) chmodSync(directory, 0o700);
  } catch (error) {
    if (error instanceof GodwitError) throw error;
    const cause = error as NodeJS.ErrnoException;
    throw new GodwitError(
      "CONFIGURATION",
      `cannot use ${directory} for keys and state (${cause.code ?? cause.message}); name another with --home DIR`,
      { path: directory, cause },
    );
  }
}
