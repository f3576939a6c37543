/**
 * `godwit classic SYSTEM ROLE …`: the five classic systems with their own command lines.
 *
 * Each system declares its commands in `classic-<system>.ts` and loads its machine only when run.
 */
import { Command } from "commander";
import { chunksCommand } from "./classic-chunks.ts";
import { p2mpCommand } from "./classic-p2mp.ts";
import { fetchCommand } from "./classic-fetch.ts";
import { hashedCommand } from "./classic-hashed.ts";
import { heartbeatCommand } from "./classic-heartbeat.ts";
import { sumCommand } from "./classic-sum.ts";
import { tcplikeCommand } from "./classic-tcplike.ts";

/** The command with all systems under it. */
export function command(): Command {
  const classic = new Command("godwit classic").description(
    "five classic file transfer systems, each on its own wire, with the original programs or among themselves",
  );
  // One line each, in the order of docs/classic/README.md.
  classic.addCommand(chunksCommand());
  classic.addCommand(tcplikeCommand());
  classic.addCommand(p2mpCommand());
  classic.addCommand(sumCommand());
  classic.addCommand(fetchCommand());
  classic.addCommand(hashedCommand());
  classic.addCommand(heartbeatCommand());
  return classic;
}
