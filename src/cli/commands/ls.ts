/** `godwit ls`: what a peer hands out. */
import { Command } from "commander";
import { list, type Entry } from "../../api/list.ts";
import { dialAsking } from "../ask-trust.ts";
import { reportFailure } from "../follow.ts";
import {
  addCommonOptions,
  addNetworkOptions,
  addTrustOptions,
  dialOptions,
  type NetworkFlags,
  type TrustFlags,
} from "../options.ts";
import { Output } from "../output.ts";
import { entryLine } from "../render/entry-line.ts";
import { watchSignals } from "../signals.ts";

/** The command. */
export function command(): Command {
  const base = new Command("godwit ls")
    .description("List what a peer hands out.")
    .argument("<from>", "HOST[:PORT][/PATH] or @name[/PATH]");
  return addCommonOptions(addNetworkOptions(addTrustOptions(base))).action(run);
}

async function run(from: string, flags: NetworkFlags & TrustFlags): Promise<void> {
  const output = new Output(flags);
  const signals = watchSignals();
  const startedAt = performance.now();
  let entries = 0;
  const show = (entry: Entry): void => {
    entries++;
    if (output.wantsJson) output.json({ event: "entry", ...entry });
    else process.stdout.write(`${entryLine(entry)}\n`);
  };
  try {
    const options = dialOptions(flags, signals.signal);
    await dialAsking(options, output, async (trusted) => {
      for await (const entry of list(from, { ...options, ...trusted })) show(entry);
    });
    output.json({ event: "result", result: "complete", exit: 0, entries });
  } catch (error) {
    reportFailure(error, output, startedAt, signals.exitStatus());
  }
}
