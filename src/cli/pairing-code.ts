/** Where a pairing code comes from when nobody is asked: never from an argument, which others can read. */
import { readFileSync } from "node:fs";
import { GodwitError } from "../base/errors.ts";
import { errnoText } from "../files/disk-errors.ts";
import { printable } from "../files/printable.ts";

/** More than any code with its line end. */
const CODE_FILE_BYTES = 1_024;

/**
 * The code in `file`, else in `GODWIT_CODE`, which is taken out of the environment so that no child
 * process inherits it.
 *
 * @throws GodwitError CONFIGURATION when the file cannot be read or is none of a code.
 */
export function pairingCode(
  file: string | undefined,
  environment: NodeJS.ProcessEnv = process.env,
): string | undefined {
  const named = environment["GODWIT_CODE"];
  delete environment["GODWIT_CODE"];
  if (file === undefined) return named === "" ? undefined : named;
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (cause) {
    throw new GodwitError(
      "CONFIGURATION",
      `cannot read the code file ${printable(file)}: ${errnoText((cause as NodeJS.ErrnoException).code ?? "EIO")}`,
      { path: file, cause },
    );
  }
  if (bytes.length > CODE_FILE_BYTES) {
    throw new GodwitError(
      "CONFIGURATION",
      `${printable(file)} has ${bytes.length} bytes; a code file holds one pairing code`,
      { path: file },
    );
  }
  return bytes.toString("utf8");
}
