/** Checks what a user wants to send before anybody is dialled. */
import { accessSync, constants, lstatSync, realpathSync, statSync, type Stats } from "node:fs";
import { basename, dirname } from "node:path";
import { GodwitError } from "../base/errors.ts";
import { printable } from "../files/printable.ts";
import type { PushSource } from "../transfer/client-session.ts";
import { localPath } from "./local-path.ts";

function failed(path: string, cause: NodeJS.ErrnoException): GodwitError {
  const name = printable(path);
  if (cause.code === "ENOENT" || cause.code === "ENOTDIR") {
    return new GodwitError("SOURCE_MISSING", `there is no ${name}; check the name`, { path, cause });
  }
  return new GodwitError(
    "SOURCE_UNREADABLE",
    `cannot read ${name}: ${cause.code ?? cause.message}; check its permissions`,
    { path, cause },
  );
}

/**
 * The source for one path that a user named. A symbolic link that is named itself is followed; links
 * below it are not.
 *
 * @throws GodwitError USAGE, SOURCE_MISSING, SOURCE_UNREADABLE or SOURCE_SPECIAL.
 */
export function sourceOf(path: string, directory: string = process.cwd()): PushSource {
  const absolute = localPath(path, directory);
  let real: string;
  let status: Stats;
  try {
    lstatSync(absolute);
    real = realpathSync(absolute);
    status = statSync(real);
  } catch (error) {
    throw failed(path, error as NodeJS.ErrnoException);
  }
  if (!status.isFile() && !status.isDirectory()) {
    throw new GodwitError(
      "SOURCE_SPECIAL",
      `${printable(path)} is neither a file nor a directory; to send what a program writes, use - and --name`,
      { path },
    );
  }
  try {
    accessSync(real, status.isDirectory() ? constants.R_OK | constants.X_OK : constants.R_OK);
  } catch (error) {
    throw failed(path, error as NodeJS.ErrnoException);
  }
  const name = basename(absolute);
  if (dirname(real) === real) return { location: real, path: [], name: [] };
  return { location: dirname(real), path: [basename(real)], name: name === "" ? [] : [name] };
}
