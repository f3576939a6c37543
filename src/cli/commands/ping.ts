/** `godwit ping`: authenticated round-trip times and facts about the path. */
import { Command, Option } from "commander";
import { ping } from "../../api/ping.ts";
import { GodwitError } from "../../base/errors.ts";
import { dialAsking } from "../ask-trust.ts";
import { reportFailure } from "../follow.ts";
import {
  addCommonOptions,
  addNetworkOptions,
  addTrustOptions,
  argument,
  dialOptions,
  type NetworkFlags,
  type TrustFlags,
} from "../options.ts";
import { Output } from "../output.ts";
import { watchSignals } from "../signals.ts";

type PingFlags = NetworkFlags & TrustFlags & { readonly count: number };

function parseCount(text: string): number {
  if (!/^[1-9]\d{0,6}$/.test(text)) throw new GodwitError("USAGE", "the count is a whole number from 1 on");
  return Number(text);
}

/** The command. */
export function command(): Command {
  const base = new Command("godwit ping")
    .description(
      "Measure round trips to a peer inside an encrypted connection, and say what the path is like.",
    )
    .argument("<host>", "HOST[:PORT] or @name")
    .addOption(new Option("--count <n>", "round trips").argParser(argument(parseCount)).default(4));
  return addCommonOptions(addNetworkOptions(addTrustOptions(base))).action(run);
}

async function run(host: string, flags: PingFlags): Promise<void> {
  const output = new Output(flags);
  const signals = watchSignals();
  const startedAt = performance.now();
  const ms = (us: number): string => (us / 1_000).toFixed(2);
  try {
    const options = dialOptions(flags, signals.signal);
    const result = await dialAsking(options, output, (trusted) =>
      ping(host, {
        ...options,
        ...trusted,
        count: flags.count,
        onReply: (sequence, rttUs) => {
          output.json({ event: "reply", sequence, rttUs: rttUs ?? null });
          if (!output.wantsJson) {
            output.say(rttUs === undefined ? `${sequence}: no answer` : `${sequence}: ${ms(rttUs)} ms`);
          }
        },
      }),
    );
    output.json({ event: "result", result: "complete", exit: 0, ...result });
    if (!output.wantsJson) {
      output.say(
        `${result.peer.address} (${result.peer.fingerprint}, ${result.peer.agent}): ${result.received} of ${result.sent} answered, loss ${(100 * result.lossFraction).toFixed(1)} %`,
      );
      output.say(
        `rtt min/avg/max/jitter ${ms(result.minUs)}/${ms(result.averageUs)}/${ms(result.maxUs)}/${ms(result.jitterUs)} ms, datagrams ${result.datagramBytes} B`,
      );
    }
  } catch (error) {
    reportFailure(error, output, startedAt, signals.exitStatus());
  }
}
