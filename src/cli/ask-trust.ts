/** Asks a person about a machine that was never seen before, by SSH's rules. */
import { createInterface } from "node:readline/promises";
import { UnknownPeerError } from "../api/dial.ts";
import type { DialOptions } from "../api/options.ts";
import type { Output } from "./output.ts";

/** Whether somebody can be asked: both ends of the terminal are there. */
function canAsk(output: Output): boolean {
  return process.stdin.isTTY && process.stderr.isTTY && !output.wantsJson;
}

/**
 * Runs `work`; when the other machine is unknown and a person is there, shows its fingerprint and asks.
 * With a yes, `work` runs again with the key pinned and the machine is remembered.
 */
export async function dialAsking<Result>(
  options: DialOptions,
  output: Output,
  work: (trusted: Pick<DialOptions, "pin">) => Promise<Result>,
): Promise<Result> {
  try {
    return await work({ pin: options.pin });
  } catch (error) {
    if (!(error instanceof UnknownPeerError) || !canAsk(output)) throw error;
    output.error(`${error.peer ?? "the other machine"} is not known yet. Its fingerprint is`);
    output.error(`  ${error.fingerprint}`);
    const terminal = createInterface({ input: process.stdin, output: process.stderr });
    try {
      const answer = await terminal.question(
        "Is it the one that godwit id prints there? [yes/no] ",
        options.signal === undefined ? {} : { signal: options.signal },
      );
      if (!/^y(?:es)?$/i.test(answer.trim())) throw error;
    } finally {
      terminal.close();
    }
    return await work({ pin: error.fingerprint });
  }
}
