/** Paths on this machine as a user names them. */
import { resolve } from "node:path";
import { GodwitError } from "../base/errors.ts";

/**
 * `path` as an absolute one. An empty text is refused: it would mean the current directory, and comes from
 * a variable that is not set.
 *
 * @param directory - What relative paths start from. Default: the current directory.
 * @throws GodwitError USAGE for `""`.
 */
export function localPath(path: string, directory: string = process.cwd()): string {
  if (path === "") throw new GodwitError("USAGE", 'a path is empty; write "." for the current directory');
  return resolve(directory, path);
}
