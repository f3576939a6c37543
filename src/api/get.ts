/** `get()`: pull files and trees from a peer. */
import { GodwitError } from "../base/errors.ts";
import { localPath } from "./local-path.ts";
import type { DialOptions } from "./options.ts";
import { drainPipe, type ByteSink } from "./pipe.ts";
import { runSession } from "./run-session.ts";
import { engineOptions, type PushOptions } from "./send.ts";
import { parseTarget } from "./target.ts";
import { startTransfer, type Transfer } from "./transfer.ts";

/** Options of `get`. */
export interface GetOptions extends DialOptions, PushOptions {
  /**
   * Directory to put everything into, made when it is missing; or a stream for the verified bytes of
   * one file, which is not closed. Default: the current directory.
   */
  readonly into?: string | ByteSink | undefined;
}

/**
 * Pulls files and trees. The result is there when every file is verified, flushed and has its final name.
 *
 * @param from - `HOST[:PORT]/PATH`, or several of the same machine.
 */
export function get(from: string | readonly string[], options: GetOptions = {}): Transfer {
  return startTransfer(async (context) => {
    const targets = (typeof from === "string" ? [from] : from).map(parseTarget);
    const target = targets[0];
    if (target === undefined) throw new GodwitError("USAGE", "nothing to get: name at least one HOST/PATH");
    if (targets.some(({ address }) => address !== target.address)) {
      throw new GodwitError("USAGE", "one get talks to one machine; run one for each");
    }
    const { into } = options;
    const paths = targets.map(({ path }) => path.replace(/\/+$/, ""));
    if (typeof into === "object") {
      const [path, ...others] = paths;
      if (path === undefined || path === "" || others.length > 0) {
        throw new GodwitError("USAGE", "a stream takes one file: name it as HOST/PATH");
      }
      const { overwrite, update, checksum, links, sparse, dryRun, rules } = options;
      const hasRules = rules !== undefined && rules.length > 0;
      if ([overwrite, update, checksum, links, sparse, dryRun, hasRules].includes(true)) {
        throw new GodwitError(
          "USAGE",
          "options about files and trees do not go with a stream; leave them out",
        );
      }
      return await runSession(target, { mode: "pull-pipe", path }, options, context, (...session) =>
        drainPipe(into, ...session),
      );
    }
    return await runSession(
      target,
      {
        mode: "pull",
        paths,
        into: localPath(into ?? "."),
        options: engineOptions(options),
        rules: options.rules ?? [],
      },
      options,
      context,
    );
  });
}
