/**
 * `godwit classic SYSTEM ROLE …`: the five classic systems with their own command lines.
 *
 * Each system declares its commands in `classic-<system>.ts` and loads its machine only when run.
 */
import { Command } from "commander";
import { tcplikeCommand } from "./classic-tcplike.ts";

/** The command with all systems under it. */
export function command(): Command {
  const classic = new Command("classic").description(
    "five classic file transfer systems, each on its own wire, with the original programs or among themselves",
  );
  classic.addCommand(tcplikeCommand());
  return classic;
}
