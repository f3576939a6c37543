/** `send()`: push files, trees and streams to a peer. */
import { GodwitError } from "../base/errors.ts";
import type { ClientRequest } from "../transfer/client-session.ts";
import type { PathRule } from "../transfer/path-rules.ts";
import type { TransferOptions } from "../transfer/transfer-options.ts";
import type { DialOptions } from "./options.ts";
import { feedPipe, type ByteStream } from "./pipe.ts";
import { runSession } from "./run-session.ts";
import { sourceOf } from "./sources.ts";
import { parseTarget } from "./target.ts";
import { startTransfer, type Transfer } from "./transfer.ts";

/** Bytes of unknown length to send as one file. */
export interface StreamSource {
  readonly stream: ByteStream;
  /** Name of the file at the receiver. */
  readonly name: string;
}

/** What a push shall do about what is there already, and what to leave out. */
export interface PushOptions {
  /** Replace existing files, atomically. Default: refuse them. */
  readonly overwrite?: boolean | undefined;
  /** Skip files that are there with the same size and time, replace others. */
  readonly update?: boolean | undefined;
  /** With `update`: compare contents instead of times. */
  readonly checksum?: boolean | undefined;
  /** Send symbolic links as links. Default: they are skipped with a notice. */
  readonly links?: boolean | undefined;
  /** Leave runs of zeros as holes at the receiver. */
  readonly sparse?: boolean | undefined;
  /** Say what would happen; change nothing. */
  readonly dryRun?: boolean | undefined;
  /** Rules for what to leave out; the first that matches decides. */
  readonly rules?: readonly PathRule[] | undefined;
}

/** Options of `send`. */
export interface SendOptions extends DialOptions, PushOptions {
  /** `HOST[:PORT][/DIR]`, `@name[/DIR]`. */
  readonly to: string;
  /** Keep the receiver's signed receipt in the result. Default false: it lists every entry. */
  readonly receipt?: boolean | undefined;
}

/** The options as the transfer engine names them. @throws GodwitError USAGE for `checksum` without `update`. */
export function engineOptions(options: PushOptions): TransferOptions {
  if (options.checksum === true && options.update !== true)
    throw new GodwitError("USAGE", "checksum compares what update finds there: it goes with update only");
  return {
    overwrite: options.overwrite ?? false,
    update: options.update ?? false,
    checksum: options.checksum ?? false,
    links: options.links ?? false,
    dryRun: options.dryRun ?? false,
    sparse: options.sparse ?? false,
    relay: false,
  };
}

/**
 * Pushes files and trees, or one stream, to a peer. The result is there when the receiver has
 * verified every file, flushed it and given it its final name.
 *
 * @param source - Paths on this machine, or a stream with a name.
 * @returns the running transfer; its result rejects with a GodwitError.
 */
export function send(source: string | readonly string[] | StreamSource, options: SendOptions): Transfer {
  return startTransfer(async (context) => {
    const target = parseTarget(options.to);
    const destination = target.path.replace(/\/+$/, "");
    const stream = typeof source === "object" && "stream" in source ? source : undefined;
    const paths =
      typeof source === "string" ? [source] : stream === undefined ? (source as readonly string[]) : [];
    if (stream === undefined && paths.length === 0) {
      throw new GodwitError("USAGE", "nothing to send: name at least one file or directory");
    }
    const request: ClientRequest =
      stream === undefined
        ? {
            mode: "push",
            sources: paths.map((path) => sourceOf(path)),
            destination,
            options: engineOptions(options),
            rules: options.rules ?? [],
          }
        : { mode: "push-pipe", name: stream.name, destination, options: engineOptions(options) };
    return await runSession(
      target,
      request,
      options,
      context,
      stream === undefined
        ? undefined
        : (session, host, connection) => feedPipe(stream.stream, session, host, connection),
    );
  });
}
