/** `godwit classic hashed`: one file over TCP with its size in front and its SHA-512 behind. */
import { Command, Option } from "commander";
import { HASHED_MAX_FILE_BYTES, HASHED_PORT } from "../../classic/hashed/hashed-wire.ts";
import type { ClassicEvent } from "../../classic/machine.ts";
import { sha256Argument, sinkOptions } from "./classic-files.ts";
import {
  addCommonOptions,
  bytesArgument,
  portArgument,
  remotePortArgument,
  runClassic,
  secondsArgument,
  wholeNumber,
} from "./classic-report.ts";
import type { ClassicCommonOptions, ClassicRun } from "./classic-report.ts";

/** How long a client tries to connect, in microseconds: longer than the 51 s an original server pings at most. */
const WAIT_US = 60_000_000;

/** Pause between the client's pings, in microseconds, and how long each waits. */
const PING_EVERY_US = 1_000_000;

interface ServerOptions extends ClassicCommonOptions {
  readonly bind?: string;
  readonly once?: boolean;
  readonly count?: number;
  readonly ping: boolean;
}

interface ClientOptions extends ClassicCommonOptions {
  readonly keepExisting?: boolean;
  readonly digest?: boolean;
  readonly expectSha256?: string;
  readonly maxSize: number;
  readonly wait: number;
  readonly ping: boolean;
}

/** The command with both roles. */
export function hashedCommand(): Command {
  const hashed = new Command("hashed").description(
    "one file over TCP: size, file, SHA-512; pings on the same port number in UDP",
  );
  const server = hashed
    .command("server")
    .usage("[options] [port] <file>")
    .description(`serve FILE to every client on PORT (default: ${HASHED_PORT}) until stopped`)
    .argument("<port|file>", "TCP port, 0 for any; or the file")
    .argument("[file]", "file to serve, at most 4 GiB - 1")
    .option("--bind <address>", "listen on this address only (default: all)")
    .option("--once", "end after one client, with that transfer's exit status")
    .option("--count <clients>", "end after so many clients", (text) =>
      wholeNumber(text, 1, 1_000_000, "a count"),
    )
    .option("--no-ping", "do not answer pings")
    .action(runServer);
  const client = hashed
    .command("client")
    .description("fetch the file of HOST PORT, verify it and save it as OUT")
    .argument("<host>", "name or address of the server")
    .argument("<port>", "TCP port of the server", remotePortArgument)
    .argument("<out>", "where to save; appears only when verified")
    .option("--keep-existing", "refuse to replace OUT")
    .option("--digest", "print the SHA-256 of OUT")
    .option("--expect-sha256 <hex>", "save only contents with this SHA-256", sha256Argument)
    .addOption(
      new Option("--max-size <bytes>", "largest file to accept")
        .argParser(bytesArgument)
        .default(HASHED_MAX_FILE_BYTES, "4 GiB - 1"),
    )
    .addOption(
      new Option("--wait <seconds>", "how long to try while nobody listens")
        .argParser(secondsArgument)
        .default(WAIT_US, "60"),
    )
    .option("--no-ping", "neither send nor answer pings")
    .action(runClient);
  addCommonOptions(server);
  addCommonOptions(client);
  return hashed;
}

async function runServer(first: string, second: string | undefined, options: ServerOptions): Promise<void> {
  await runClassic(options, "stdout", async (run) => {
    const port = second === undefined ? HASHED_PORT : portArgument(first);
    const file = second ?? first;
    const [{ serveHashed }, { answerPings }] = await Promise.all([
      import("../../node/classic/hashed-server.ts"),
      import("../../node/classic/ping-echo.ts"),
    ]);
    const count = options.once ? 1 : options.count;
    const pings = new AbortController();
    let answering: Promise<void> | undefined;
    try {
      return await serveHashed({
        port,
        file,
        signal: run.signal,
        onEvent: (event) => report(run, event),
        onListening: (host, listeningPort) => {
          run.handleEvent({ type: "listening", facts: { address: `${host}:${listeningPort}` } });
          run.note(`serving ${file} on ${host} port ${listeningPort}`);
          if (options.ping) answering = answerPings(listeningPort, pings.signal);
        },
        ...(options.bind === undefined ? {} : { host: options.bind }),
        ...(count === undefined ? {} : { count }),
      });
    } finally {
      pings.abort();
      await answering;
    }
  });
}

async function runClient(host: string, port: number, out: string, options: ClientOptions): Promise<void> {
  await runClassic(options, "stdout", async (run) => {
    const [{ fetchHashed }, { answerPings }, { openByteSink }] = await Promise.all([
      import("../../node/classic/hashed-client.ts"),
      import("../../node/classic/ping-echo.ts"),
      import("../../node/classic/file-bytes.ts"),
    ]);
    const sink = openByteSink(out, sinkOptions(options, run));
    const background = new AbortController();
    const pings = options.ping
      ? [answerPings(port, background.signal), pingInBackground(run, host, port, background.signal)]
      : [];
    try {
      return await fetchHashed({
        host,
        port,
        sink,
        limitBytes: options.maxSize,
        waitUs: options.wait,
        signal: run.signal,
        onEvent: (event) => report(run, event),
      });
    } finally {
      background.abort();
      await Promise.all(pings);
    }
  });
}

/** Pings until the transfer is over. A server that does not answer is as good as one that does. */
async function pingInBackground(
  run: ClassicRun,
  host: string,
  port: number,
  signal: AbortSignal,
): Promise<void> {
  const [{ HeartbeatClient }, runner, { asctime }] = await Promise.all([
    import("../../classic/heartbeat/heartbeat-client.ts"),
    import("../../node/classic/datagram-runner.ts"),
    import("../../node/classic/asctime.ts"),
  ]);
  try {
    const server = await runner.resolvePeer(host, port);
    const machine = new HeartbeatClient(
      {
        server,
        count: Number.MAX_SAFE_INTEGER,
        timeoutUs: PING_EVERY_US,
        intervalUs: PING_EVERY_US,
        timeText: () => asctime(new Date()),
      },
      runner.monotonicUs(),
    );
    await runner.runDatagramMachine(machine, {
      binding: runner.localBinding([server]),
      signal,
      onEvent: (event) => {
        const { line: _line, ...rest } = event;
        run.handleEvent(rest);
      },
    });
    const { sent, received, averageRttUs } = machine.statistics;
    if (averageRttUs !== undefined)
      run.note(
        `pings: ${received} of ${sent} answered, RTT ${(averageRttUs / 1_000).toFixed(2)} ms on average`,
      );
  } catch (error) {
    // No pings, then: the transfer has its own error for a name that does not resolve.
    run.note(`no pings: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function report(run: ClassicRun, event: ClassicEvent): void {
  if (event.type === "session-completed") {
    run.totals.files++;
    run.totals.bytes += event.doneBytes ?? 0;
  }
  run.handleEvent(event);
}
