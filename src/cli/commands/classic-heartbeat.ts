/** `godwit classic heartbeat`: the UDP pinger with sequence numbers, and its server. */
import { randomInt } from "node:crypto";
import { Command, Option } from "commander";
import { tellListening } from "./classic-files.ts";
import {
  addCommonOptions,
  portArgument,
  probabilityArgument,
  remotePortArgument,
  runClassic,
  secondsArgument,
  wholeNumber,
} from "./classic-report.ts";
import type { ClassicCommonOptions } from "./classic-report.ts";

/** The course's timeout of one ping, in microseconds. */
const TIMEOUT_US = 1_000_000;

interface ServerOptions extends ClassicCommonOptions {
  readonly loss: number;
}

interface ClientOptions extends ClassicCommonOptions {
  readonly count: number;
  readonly timeout: number;
  readonly interval?: number;
}

/** The command with both roles. */
export function heartbeatCommand(): Command {
  const heartbeat = new Command("heartbeat").description(
    "UDP pings with numbers: round-trip times, timeouts, min/avg/max and loss",
  );
  const server = heartbeat
    .command("server")
    .description("answer pings on HOST PORT in capitals, until stopped")
    .argument("<host>", "address to listen on, * for all")
    .argument("<port>", "UDP port, 0 for any", portArgument)
    .option(
      "--loss <probability>",
      "share of pings left unanswered (the course's server: 0.3636)",
      probabilityArgument,
      0,
    )
    .action(runServer);
  const client = heartbeat
    .command("client")
    .description("ping HOST PORT; exit status 6 if no ping is answered")
    .argument("<host>", "name or address of the server")
    .argument("<port>", "UDP port of the server", remotePortArgument)
    .option("--count <pings>", "pings to send", (text) => wholeNumber(text, 1, 1_000_000, "a count"), 10)
    .addOption(
      new Option("--timeout <seconds>", "how long to wait for each reply")
        .argParser(secondsArgument)
        .default(TIMEOUT_US, "1"),
    )
    .option("--interval <seconds>", "pause between pings (default: none)", secondsArgument)
    .action(runClient);
  addCommonOptions(server);
  addCommonOptions(client);
  return heartbeat;
}

async function runServer(host: string, port: number, options: ServerOptions): Promise<void> {
  await runClassic(options, "stdout", async (run) => {
    const [{ HeartbeatServer }, { runDatagramMachine, monotonicUs }] = await Promise.all([
      import("../../classic/heartbeat/heartbeat-server.ts"),
      import("../../node/classic/datagram-runner.ts"),
    ]);
    const random = (): number => randomInt(2 ** 32) / 2 ** 32;
    const machine = new HeartbeatServer({ lossProbability: options.loss, random }, monotonicUs());
    return runDatagramMachine(machine, {
      binding: { port, ...(host === "*" ? {} : { host }) },
      signal: run.signal,
      onEvent: run.handleEvent,
      onListening: tellListening(run),
    });
  });
}

async function runClient(host: string, port: number, options: ClientOptions): Promise<void> {
  await runClassic(options, "stdout", async (run) => {
    const [{ HeartbeatClient }, runner, { asctime }] = await Promise.all([
      import("../../classic/heartbeat/heartbeat-client.ts"),
      import("../../node/classic/datagram-runner.ts"),
      import("../../node/classic/asctime.ts"),
    ]);
    const server = await runner.resolvePeer(host, port);
    const machine = new HeartbeatClient(
      {
        server,
        count: options.count,
        timeoutUs: options.timeout,
        intervalUs: options.interval ?? 0,
        timeText: () => asctime(new Date()),
      },
      runner.monotonicUs(),
    );
    return runner.runDatagramMachine(machine, {
      binding: runner.localBinding([server]),
      signal: run.signal,
      onEvent: run.handleEvent,
    });
  });
}
