/** The receivers of a command: repeated `--to`, and lists in files. */
import { readFileSync, statSync } from "node:fs";
import { GodwitError } from "../base/errors.ts";
import { printable } from "../files/printable.ts";

/** Bytes of a list of receivers: 10 000 lines of 100 characters. */
const LIST_BYTES = 1024 * 1024;

/** The path of a list, when `--to @TEXT` names a file rather than a known peer. */
function listPath(text: string): string | undefined {
  if (!text.startsWith("@")) return undefined;
  const path = text.slice(1);
  try {
    if (statSync(path).isFile()) return path;
  } catch {
    // No such file: a known peer's name.
  }
  // What looks like a path cannot be a peer's name.
  if (/^[./~]|\.(?:txt|list|hosts)$/.test(path))
    throw new GodwitError("USAGE", `there is no list of receivers ${printable(path)}; check the name`, {
      path,
    });
  return undefined;
}

/** The targets in a list: one a line, blank lines and what follows a `#` left out. */
export function parseTargetList(text: string): string[] {
  return text
    .split(/\r?\n/)
    .map((line) => line.replace(/(?:^|\s)#.*$/, "").trim())
    .filter((line) => line !== "");
}

/**
 * The targets that the values of `--to` stand for. `@TEXT` is a list if a file of that name exists,
 * otherwise a known peer. Lists do not name other lists.
 *
 * @throws GodwitError USAGE for a list that is missing, unreadable, empty or too long.
 */
export function expandTargets(values: readonly string[]): { targets: string[]; usesList: boolean } {
  const targets: string[] = [];
  let usesList = false;
  for (const value of values) {
    const path = listPath(value);
    if (path === undefined) {
      targets.push(value);
      continue;
    }
    usesList = true;
    const named = parseTargetList(readList(path));
    if (named.length === 0) throw new GodwitError("USAGE", `${printable(path)} names no receivers`, { path });
    targets.push(...named);
  }
  return { targets, usesList };
}

function readList(path: string): string {
  try {
    if (statSync(path).size > LIST_BYTES)
      throw new GodwitError(
        "USAGE",
        `${printable(path)} is larger than ${LIST_BYTES} bytes: not a list of receivers`,
        { path },
      );
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof GodwitError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new GodwitError("USAGE", `cannot read the list of receivers ${printable(path)}: ${why}`, { path });
  }
}
