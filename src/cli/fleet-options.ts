/** Options of a push to many receivers. */
import { InvalidArgumentError, Option, type Command } from "commander";
import { parseDurationUs, parseRate } from "../base/units.ts";
import { argument } from "./options.ts";

/** The flags. */
export interface FleetFlags {
  readonly maxLanes?: number;
  readonly retry?: number;
  readonly quorum?: string;
  readonly deadline?: number;
  readonly minRate?: number;
  readonly laggards?: "drop" | "demote";
  readonly relay?: boolean;
}

/** Whether one of them was given: then even a single receiver is a group. */
export function hasFleetFlags(flags: FleetFlags): boolean {
  const { maxLanes, retry, quorum, deadline, minRate, laggards, relay } = flags;
  return [maxLanes, retry, quorum, deadline, minRate, laggards, relay].some((flag) => flag !== undefined);
}

function count(least: number) {
  return (text: string): number => {
    const value = Number(text);
    if (!/^\d{1,5}$/.test(text) || value < least) {
      throw new InvalidArgumentError(`"${text}" is not a whole number from ${least} to 99999`);
    }
    return value;
  };
}

/** Adds `--max-lanes`, `--retry`, `--quorum`, `--deadline`, `--min-rate`, `--laggards` and `--relay`. */
export function addFleetOptions(command: Command): Command {
  return command
    .addOption(
      new Option("--max-lanes <n>", "many: at most so many receivers move at once (default: 64)").argParser(
        count(1),
      ),
    )
    .addOption(
      new Option(
        "--retry <n>",
        "many: new attempts after one that failed without progress (default: 2)",
      ).argParser(count(0)),
    )
    .addOption(
      new Option(
        "--quorum <n|p%>",
        "many: when so many are complete, end the others, at the deadline if one is given",
      ),
    )
    .addOption(
      new Option("--deadline <time>", "many: end receivers that are not done after this time").argParser(
        argument(parseDurationUs),
      ),
    )
    .addOption(
      new Option("--min-rate <rate>", "many: a receiver that verifies less over 10 s is a laggard").argParser(
        argument(parseRate),
      ),
    )
    .addOption(
      new Option("--laggards <what>", "many: let others go first, or end them (default: demote)").choices([
        "demote",
        "drop",
      ]),
    )
    .option("--relay", "many: receivers serve what they have to the others, for a thin uplink");
}
