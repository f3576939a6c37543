/** `godwit classic sum`: two names and two numbers over UDP, and their sum. docs/classic/sum.md */
import { randomInt } from "node:crypto";
import { hostname, userInfo } from "node:os";
import { createInterface } from "node:readline/promises";
import { Command, InvalidArgumentError } from "commander";
import { GodwitError } from "../../base/errors.ts";
import { SUM_HIGH, SUM_LOW } from "../../classic/sum/sum-text.ts";
import {
  addCommonOptions,
  portArgument,
  remotePortArgument,
  runClassic,
  wholeNumber,
} from "./classic-report.ts";
import type { ClassicCommonOptions } from "./classic-report.ts";

interface ServerOptions extends ClassicCommonOptions {
  readonly bind?: string;
  readonly name?: string;
  readonly number?: number;
}

interface ClientOptions extends ClassicCommonOptions {
  readonly name?: string;
  readonly number?: number;
}

/** The command with its two roles. */
export function sumCommand(): Command {
  const sum = new Command("sum").description(
    "exchange of names and numbers from 1 to 100; both sides show the sum",
  );
  const server = sum
    .command("server")
    .description("answer with an own number until a number out of range comes")
    .argument("<port>", "UDP port, 0 for any", portArgument)
    .option("--bind <address>", "listen on this address only (default: all)")
    .option("--name <name>", "own name (default: Server of USER)")
    .option("--number <number>", "own number (default: a new one for each client)", (text) =>
      wholeNumber(text, SUM_LOW, SUM_HIGH, "an own number"),
    )
    .action(runServer);
  const client = sum
    .command("client")
    .description(
      "send a number, read from standard input, to HOST PORT; a number out of range ends the server",
    )
    .argument("<host>", "name or address of the server")
    .argument("<port>", "UDP port of the server", remotePortArgument)
    .option("--name <name>", "own name (default: Client of USER)")
    .option("--number <number>", "the number, instead of standard input", numberArgument)
    .action(runClient);
  addCommonOptions(server);
  addCommonOptions(client);
  return sum;
}

async function runServer(port: number, options: ServerOptions): Promise<void> {
  await runClassic(options, "stdout", async (run) => {
    const [{ SumServer }, files, { runDatagramMachine }] = await Promise.all([
      import("../../classic/sum/sum-server.ts"),
      import("./classic-files.ts"),
      import("../../node/classic/datagram-runner.ts"),
    ]);
    const machine = new SumServer({
      name: options.name ?? `Server of ${userName()}`,
      drawNumber: () => options.number ?? randomInt(SUM_LOW, SUM_HIGH + 1),
    });
    return runDatagramMachine(machine, {
      binding: { port, ...(options.bind === undefined ? {} : { host: options.bind }) },
      signal: run.signal,
      onEvent: run.handleEvent,
      onListening: files.tellListening(run),
    });
  });
}

async function runClient(host: string, port: number, options: ClientOptions): Promise<void> {
  await runClassic(options, "stdout", async (run) => {
    const [{ SumClient }, runner] = await Promise.all([
      import("../../classic/sum/sum-client.ts"),
      import("../../node/classic/datagram-runner.ts"),
    ]);
    const server = await runner.resolvePeer(host, port);
    const number = options.number ?? (await readNumber(run.signal));
    const name = options.name ?? `Client of ${userName()}`;
    const machine = new SumClient({ server, name, number }, runner.monotonicUs());
    return runner.runDatagramMachine(machine, {
      binding: runner.localBinding([server]),
      signal: run.signal,
      onEvent: run.handleEvent,
    });
  });
}

/** The first line of standard input as a number. */
async function readNumber(signal: AbortSignal): Promise<number> {
  const lines = createInterface({ input: process.stdin, output: process.stderr, terminal: false });
  const stop = (): void => lines.close();
  signal.addEventListener("abort", stop, { once: true });
  if (process.stdin.isTTY) process.stderr.write(`a number from ${SUM_LOW} to ${SUM_HIGH}: `);
  try {
    for await (const line of lines) return parseNumber(line.trim());
    signal.throwIfAborted();
    throw new GodwitError("USAGE", "standard input has no number; type one, or use --number");
  } finally {
    signal.removeEventListener("abort", stop);
    lines.close();
    process.stdin.destroy();
  }
}

function parseNumber(text: string): number {
  if (!/^[+-]?\d{1,9}$/.test(text))
    throw new GodwitError("USAGE", `${JSON.stringify(text)} is not a whole number`);
  return Number(text);
}

function numberArgument(text: string): number {
  try {
    return parseNumber(text);
  } catch {
    throw new InvalidArgumentError(`"${text}" is not a whole number`);
  }
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A user without an entry in the system's table.
    return hostname();
  }
}
