/** What to do when standard output or standard error cannot be written. */
import { ERRORS } from "../base/errors.ts";
import { destinationErrorCode, errnoText } from "../files/disk-errors.ts";

/**
 * From now on a reader that went away (`| head -1`) ends nothing, and a standard output that fails in any
 * other way, such as a full disk behind `>`, is told at the end with the status of its cause, unless the
 * command failed already.
 */
export function guardStandardStreams(): void {
  let failure: NodeJS.ErrnoException | undefined;
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") failure ??= error;
  });
  // Nobody is left to tell.
  process.stderr.on("error", () => undefined);
  process.on("exit", (status) => {
    if (failure === undefined || status !== 0) return;
    const errno = failure.code ?? "EIO";
    process.stderr.write(`godwit: cannot write to standard output: ${errnoText(errno)}\n`);
    process.exitCode = ERRORS[destinationErrorCode(errno)].exit;
  });
}
