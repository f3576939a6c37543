/** Files of one directory as a classic server hands them out. */
import * as fs from "node:fs";
import * as path from "node:path";
import { GodwitError } from "../../base/errors.ts";
import type { ByteSource } from "../../classic/machine.ts";
import { openByteSource } from "./file-bytes.ts";

/**
 * Opens `name` in `directory` for sending: a plain name of a regular file, not hidden and not a link.
 *
 * @throws GodwitError `UNSAFE_NAME`, `SOURCE_MISSING`, `SOURCE_SPECIAL`, `SOURCE_UNREADABLE`.
 */
export function openServedFile(directory: string, name: string): ByteSource {
  // A colon names streams and drives on Windows; hidden files are staging files and the like.
  if (/[/\\:\0]/.test(name) || name.startsWith(".")) {
    throw new GodwitError("UNSAFE_NAME", `${name} is not a plain file name`, { path: name });
  }
  const file = path.join(directory, name);
  if (fs.lstatSync(file, { throwIfNoEntry: false })?.isSymbolicLink()) {
    throw new GodwitError("SOURCE_SPECIAL", `${file} is a link`, { path: file });
  }
  return openByteSource(file);
}
