/** `godwit classic tcplike`: TCP-like reliability over UDP, standard input to standard output. */
import { createHash, randomInt } from "node:crypto";
import { Command, Option } from "commander";
import { GodwitError } from "../../base/errors.ts";
import { CLASSIC_FIRST_CLIENT_US, CLASSIC_INPUT_BYTES, CLASSIC_SESSION_IDLE_US } from "../../base/limits.ts";
import type { ClassicEvent } from "../../classic/machine.ts";
import { escapeUnprintable } from "../../base/unprintable.ts";
import { sha256Argument, sinkOptions, tellListening } from "./classic-files.ts";
import {
  addCommonOptions,
  bytesArgument,
  portArgument,
  remotePortArgument,
  runClassic,
  secondsArgument,
} from "./classic-report.ts";
import type { ClassicCommonOptions, ClassicRun, LineStream } from "./classic-report.ts";

interface ServerOptions extends ClassicCommonOptions {
  readonly bind?: string;
  readonly output?: string;
  readonly keepExisting?: boolean;
  readonly digest?: boolean;
  readonly expectSha256?: string;
  readonly wait: number;
  readonly idle: number;
  readonly maxSize: number;
}

interface ClientOptions extends ClassicCommonOptions {
  readonly extended?: boolean;
  readonly quick?: boolean;
}

/** The command with both roles. */
export function tcplikeCommand(): Command {
  const tcplike = new Command("tcplike").description(
    "TCP-like reliability over UDP: SYN, stop-and-wait, FIN; text from standard input to standard output",
  );
  const server = tcplike
    .command("server")
    .description("receive one input on PORT and write it to standard output; the log goes to standard error")
    .argument("<port>", "UDP port, 0 for any", portArgument)
    .option("--bind <address>", "listen on this address only (default: all; the original: 127.0.0.1)")
    .option("--output <file>", "write to FILE, which appears when it is complete, instead of standard output")
    .option("--keep-existing", "refuse to replace FILE")
    .option("--digest", "print the SHA-256 of FILE")
    .option("--expect-sha256 <hex>", "save only contents with this SHA-256", sha256Argument)
    .addOption(
      new Option("--wait <seconds>", "how long to wait for a client")
        .argParser(secondsArgument)
        .default(CLASSIC_FIRST_CLIENT_US, "60; the original: 2"),
    )
    .addOption(
      new Option("--idle <seconds>", "silence that ends the transfer")
        .argParser(secondsArgument)
        .default(CLASSIC_SESSION_IDLE_US, "10; the original: 2"),
    )
    .addOption(
      new Option("--max-size <bytes>", "largest input to accept")
        .argParser(bytesArgument)
        .default(4 * 1024 ** 3, "4G"),
    )
    .action(runServer);
  const client = tcplike
    .command("client")
    .description("send standard input to HOST PORT; the log goes to standard output")
    .argument("<host>", "name or address of the server")
    .argument("<port>", "UDP port of the server", remotePortArgument)
    .option("--extended", "any bytes, exact lengths and a SHA-256 at the end; only with a godwit server")
    .option("--quick", "end after the first closing packet instead of three, 2 s apart")
    .action(runClient);
  addCommonOptions(server);
  addCommonOptions(client);
  return tcplike;
}

async function runServer(port: number, options: ServerOptions): Promise<void> {
  await runClassic(options, "stderr", async (run) => {
    if (options.json && options.output === undefined)
      throw new GodwitError("USAGE", "--json needs --output: standard output cannot carry both");
    const [{ TcplikeServer }, wire, { runDatagramMachine, monotonicUs }, streams, files] = await Promise.all([
      import("../../classic/tcplike/tcplike-server.ts"),
      import("../../classic/tcplike/tcplike-wire.ts"),
      import("../../node/classic/datagram-runner.ts"),
      import("../../node/classic/standard-streams.ts"),
      import("../../node/classic/file-bytes.ts"),
    ]);
    const sink =
      options.output === undefined
        ? streams.standardOutputSink()
        : files.openByteSink(options.output, sinkOptions(options, run));
    const machine = new TcplikeServer(
      {
        sink,
        drawConnectionId: () => randomInt(1, wire.TCPLIKE_MAX_CONNECTION_ID + 1),
        createHash: () => createHash("sha256"),
        limitBytes: options.maxSize,
        firstClientUs: options.wait,
        idleUs: options.idle,
      },
      monotonicUs(),
    );
    return withLog(run, options, "stderr", (onEvent) =>
      runDatagramMachine(machine, {
        binding: { port, ...(options.bind === undefined ? {} : { host: options.bind }) },
        signal: run.signal,
        onEvent,
        onListening: tellListening(run),
      }),
    ).finally(() => sink.abort());
  });
}

async function runClient(host: string, port: number, options: ClientOptions): Promise<void> {
  await runClassic(options, "stdout", async (run) => {
    const [{ TcplikeClient }, { runDatagramMachine, monotonicUs, resolvePeer, localBinding }, streams] =
      await Promise.all([
        import("../../classic/tcplike/tcplike-client.ts"),
        import("../../node/classic/datagram-runner.ts"),
        import("../../node/classic/standard-streams.ts"),
      ]);
    const server = await resolvePeer(host, port);
    // Everything before the first packet: the original server ends after 2 s without one.
    const input = await streams.readStandardInput(CLASSIC_INPUT_BYTES, run.signal);
    const digest = options.extended ? { digest: createHash("sha256").update(input).digest() } : {};
    const quick = options.quick ? { closeWaitUs: 0 } : {};
    const machine = new TcplikeClient({ server, input, ...digest, ...quick }, monotonicUs());
    return withLog(run, options, "stdout", (onEvent) =>
      runDatagramMachine(machine, { binding: localBinding([server]), signal: run.signal, onEvent }),
    );
  });
}

/** Sends the original's lines to a log that cannot block, and everything else to the report. */
async function withLog<Result>(
  run: ClassicRun,
  options: ClassicCommonOptions,
  stream: LineStream,
  body: (onEvent: (event: ClassicEvent) => void) => Promise<Result>,
): Promise<Result> {
  const { LineLog } = await import("../../node/classic/standard-streams.ts");
  const log = options.json || options.quiet ? undefined : new LineLog(stream);
  try {
    return await body((event) => {
      const { line, ...rest } = event;
      if (log === undefined) run.handleEvent(event);
      else {
        if (line !== undefined) log.write(escapeUnprintable(line));
        run.handleEvent(rest);
      }
    });
  } finally {
    await log?.close();
  }
}
