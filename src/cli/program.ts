#!/usr/bin/env node
/** The command line: finds the command, loads only that one, and turns every end into an exit status. */
import type { Command } from "commander";
import { VERSION } from "../api/version.ts";
import { guardStandardStreams } from "./standard-streams.ts";

type CommandLoader = () => Promise<{ readonly command: () => Command }>;

/** Every command, loaded when it is asked for: `godwit --version` pays for none of them. */
const COMMANDS: Readonly<Record<string, { readonly summary: string; readonly load: CommandLoader }>> = {
  serve: {
    summary: "receive into a directory and hand out from it",
    load: () => import("./commands/serve.ts"),
  },
  send: { summary: "push files and trees to a machine", load: () => import("./commands/send.ts") },
  get: { summary: "pull files and trees", load: () => import("./commands/get.ts") },
  ls: { summary: "list what a peer hands out", load: () => import("./commands/ls.ts") },
  ping: {
    summary: "authenticated round-trip times and path facts",
    load: () => import("./commands/ping.ts"),
  },
  id: { summary: "print this machine's fingerprint", load: () => import("./commands/id.ts") },
  peers: { summary: "known and authorised peers", load: () => import("./commands/peers.ts") },
  verify: {
    summary: "check a signed receipt, and files against it",
    load: () => import("./commands/verify.ts"),
  },
  clean: { summary: "remove what interrupted transfers left", load: () => import("./commands/clean.ts") },
  link: { summary: "a UDP relay that behaves like a bad network", load: () => import("./commands/link.ts") },
  classic: { summary: "the five classic systems", load: () => import("./commands/classic.ts") },
};

function help(): string {
  const width = Math.max(...Object.keys(COMMANDS).map((name) => name.length));
  const lines = Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`);
  return [
    "godwit: copy anything to one machine or a thousand, over any network.",
    "",
    "Usage: godwit COMMAND [OPTIONS]",
    "",
    ...lines,
    "",
    "godwit COMMAND --help documents each option with its default.",
    "Exit statuses: 0 complete, 2 usage, 3 partial, 4 files, 5 space, 6 network",
    "(resumable), 7 authentication, 8 integrity, 9 policy, 10 protocol, 11 busy,",
    "12 classic without the last confirmation, 128+n signal, 1 a bug.",
    "More: docs/guide/exit-status.md",
    "",
  ].join("\n");
}

/** The word of `words` most like a mistyped one: fewest letters added, dropped or changed, at most half of them. */
function nearest(typed: string, words: readonly string[]): string | undefined {
  const distances = words.map((word) => editDistance(typed, word));
  const least = Math.min(...distances);
  return least <= typed.length / 2 ? words[distances.indexOf(least)] : undefined;
}

/** Letters to add, drop or change (two exchanged ones count twice). Wagner and Fischer, 1974. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let at = 1; at <= from.length; at++) {
    const next = [at];
    for (let of = 1; of <= to.length; of++) {
      const changed = row[of - 1] + (from[at - 1] === to[of - 1] ? 0 : 1);
      next.push(Math.min(changed, row[of] + 1, next[of - 1] + 1));
    }
    row = next;
  }
  return row[to.length];
}

async function main(argv: readonly string[]): Promise<void> {
  const name = argv[0];
  if (name === "--version" || name === "-V") {
    process.stdout.write(`${VERSION}\n`);
    return;
  }
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    const topic = name === "help" ? argv[1] : undefined;
    if (topic !== undefined && Object.hasOwn(COMMANDS, topic)) return main([topic, "--help"]);
    (name === undefined ? process.stderr : process.stdout).write(help());
    if (name === undefined) process.exitCode = 2;
    return;
  }
  if (!Object.hasOwn(COMMANDS, name)) {
    const near = nearest(name, Object.keys(COMMANDS));
    const hint = near === undefined ? "; see" : `; did you mean godwit ${near}? See`;
    process.stderr.write(`godwit: there is no command ${JSON.stringify(name)}${hint} godwit --help\n`);
    process.exitCode = 2;
    return;
  }
  const [{ command }, { runCommand }, { boundHeap }] = await Promise.all([
    COMMANDS[name].load(),
    import("./run-command.ts"),
    import("./heap-bounds.ts"),
  ]);
  boundHeap();
  await runCommand(command(), argv.slice(1));
}

guardStandardStreams();
await main(process.argv.slice(2));
