/** Files, digests and addresses as the classic commands handle them. */
import { statSync } from "node:fs";
import { InvalidArgumentError } from "commander";
import { GodwitError } from "../../base/errors.ts";
import type { ByteSource } from "../../classic/machine.ts";
import { digestingSource, openByteSource } from "../../node/classic/file-bytes.ts";
import type { SinkOptions } from "../../node/classic/file-bytes.ts";
import type { ClassicRun } from "./classic-report.ts";

/** Parses a SHA-256 in hexadecimal. */
export function sha256Argument(text: string): string {
  if (!/^[0-9a-fA-F]{64}$/.test(text)) throw new InvalidArgumentError("a SHA-256 is 64 hexadecimal digits");
  return text.toLowerCase();
}

/** How received files get their names, from the options of a command. */
export function sinkOptions(
  options: { readonly keepExisting?: boolean; readonly digest?: boolean; readonly expectSha256?: string },
  run: ClassicRun,
): SinkOptions {
  return {
    overwrite: options.keepExisting !== true,
    ...(options.expectSha256 === undefined ? {} : { expectedSha256: options.expectSha256 }),
    ...(options.digest === true ? { onDigest: (file, sha256) => tellDigest(run, sha256, file) } : {}),
  };
}

/** Opens a file for sending, with its digest told at the end if that is asked for. */
export function openSource(
  file: string,
  options: { readonly digest?: boolean },
  run: ClassicRun,
): ByteSource {
  const source = openByteSource(file);
  return options.digest === true
    ? digestingSource(source, (sha256) => tellDigest(run, sha256, file))
    : source;
}

function tellDigest(run: ClassicRun, sha256: string, file: string): void {
  // The format of sha256sum, so that one side's output can be checked on the other.
  run.handleEvent({ type: "digest", name: file, line: `${sha256}  ${file}`, facts: { sha256 } });
}

/** Says where a server listens: the port may have been chosen by the system. */
export function tellListening(run: ClassicRun): (address: string) => void {
  return (address) => {
    run.handleEvent({ type: "listening", facts: { address } });
    run.note(`listening on ${address}`);
  };
}

/** @throws GodwitError `DESTINATION_UNWRITABLE` if `directory` is none: better now than at the first file. */
export function checkDirectory(directory: string): void {
  if (statSync(directory, { throwIfNoEntry: false })?.isDirectory() !== true)
    throw new GodwitError("DESTINATION_UNWRITABLE", `${directory} is not a directory; create it first`, {
      path: directory,
    });
}
