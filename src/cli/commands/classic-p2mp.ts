/** `godwit classic p2mp server|client`: one file to many receivers in lock-step. docs/classic/p2mp.md */
import { Command, InvalidArgumentError, Option } from "commander";
import type { EncodingName } from "../../classic/p2mp/wire.ts";
import {
  addCommonOptions,
  bytesArgument,
  portArgument,
  remotePortArgument,
  runClassic,
  secondsArgument,
  wholeNumber,
} from "./classic-report.ts";
import type { ClassicCommonOptions } from "./classic-report.ts";
import { sha256Argument } from "./classic-files.ts";

interface ServerOptions extends ClassicCommonOptions {
  readonly encoding: EncodingName;
  readonly bind?: string;
  readonly idle?: number;
  readonly seed?: number;
  readonly maxSize?: number;
  readonly keepExisting?: boolean;
  readonly digest?: boolean;
  readonly expectSize?: number;
  readonly expectSha256?: string;
}

interface ClientOptions extends ClassicCommonOptions {
  readonly encoding: EncodingName;
  readonly giveUp?: number;
  readonly digest?: boolean;
}

const encoding = (): Option =>
  new Option(
    "--encoding <name>",
    "ascii: every bit a character, as the original; binary: the course text's header",
  )
    .choices(["ascii", "binary"])
    .default("ascii");

/** The command with its two roles. */
export function p2mpCommand(): Command {
  const p2mp = new Command("p2mp").description("one file to many receivers, packet by packet in lock-step");
  const server = p2mp
    .command("server")
    .description("receive one file as FILE, losing packets on purpose with probability P")
    .argument("<port>", "UDP port, 0 for any", portArgument)
    .argument("<file>", "where to save; an existing file is replaced, as by the original")
    .argument("<p>", "loss probability, 0 to below 1", probabilityArgument)
    .addOption(encoding())
    .option("--bind <address>", "listen on this address only (default: all)")
    .option("--idle <seconds>", "silence that ends a file of unknown size (default: 60)", secondsArgument)
    .option("--seed <number>", "decides which packets are lost (default: at random)", (text) =>
      wholeNumber(text, 0, Number.MAX_SAFE_INTEGER, "a seed"),
    )
    .option("--max-size <bytes>", "largest file to accept (default: 16G)", bytesArgument)
    .option("--keep-existing", "refuse to replace a file")
    .option("--digest", "print the SHA-256 of the file")
    .option("--expect-size <bytes>", "size of the file: makes its end certain", bytesArgument)
    .option("--expect-sha256 <hex>", "save only contents with this SHA-256", sha256Argument);
  addCommonOptions(server).action(runServer);
  const client = p2mp
    .command("client")
    .description("send FILE to every HOST")
    .usage("[options] HOST... PORT FILE MSS")
    .argument("<arguments...>", "HOST... PORT FILE MSS, where MSS is 1 to 2040 bytes")
    .addOption(encoding())
    .option(
      "--give-up <seconds>",
      "silence after which a receiver is left behind (default: 60)",
      secondsArgument,
    )
    .option("--digest", "print the SHA-256 of what was sent");
  addCommonOptions(client).action(runClient);
  return p2mp;
}

/** Parses a probability in [0, 1). */
function probabilityArgument(text: string): number {
  const value = /^(0|0?\.\d{1,15}|0\.)$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isNaN(value))
    throw new InvalidArgumentError(`"${text}" is not a probability from 0 to below 1, like 0.05`);
  return value;
}

async function runServer(
  port: number,
  file: string,
  lossProbability: number,
  options: ServerOptions,
): Promise<void> {
  await runClassic(options, "stdout", async (run) => {
    const [{ P2mpReceiver }, { ENCODINGS }, { SeededRandom }, { openByteSink }, files, runner] =
      await Promise.all([
        import("../../classic/p2mp/receiver.ts"),
        import("../../classic/p2mp/wire.ts"),
        import("../../base/random.ts"),
        import("../../node/classic/file-bytes.ts"),
        import("./classic-files.ts"),
        import("../../node/classic/datagram-runner.ts"),
      ]);
    const random = new SeededRandom(options.seed ?? Math.floor(Math.random() * 2 ** 48), "p2mp");
    const sink = files.sinkOptions(options, run);
    // A destination that cannot work is told now, not when the sender is on its way.
    openByteSink(file, sink).abort();
    const machine = new P2mpReceiver({
      encoding: ENCODINGS[options.encoding],
      createSink: () => openByteSink(file, sink),
      lossProbability,
      random: () => random.float(),
      ...(options.idle === undefined ? {} : { idleUs: options.idle }),
      ...(options.maxSize === undefined ? {} : { maxFileBytes: options.maxSize }),
      ...(options.expectSize === undefined ? {} : { expectedBytes: options.expectSize }),
    });
    const outcome = await runner.runDatagramMachine(machine, {
      binding: { port, ...(options.bind === undefined ? {} : { host: options.bind }) },
      signal: run.signal,
      onEvent: run.handleEvent,
      onListening: files.tellListening(run),
    });
    // Contents with the digest that was told beforehand are the file, however its end was noticed.
    const isVerified = outcome.result === "probably-complete" && options.expectSha256 !== undefined;
    return isVerified ? { result: "complete" } : outcome;
  });
}

async function runClient(words: readonly string[], options: ClientOptions, command: Command): Promise<void> {
  if (words.length < 4) command.error("error: needs HOST... PORT FILE MSS");
  const hosts = words.slice(0, -3);
  const [portText, file, segmentText] = words.slice(-3);
  const port = parsed(command, () => remotePortArgument(portText));
  const segmentBytes = parsed(command, () => wholeNumber(segmentText, 1, 2_040, "MSS"));
  await runClassic(options, "stdout", async (run) => {
    const [{ P2mpSender }, { ENCODINGS }, files, runner] = await Promise.all([
      import("../../classic/p2mp/sender.ts"),
      import("../../classic/p2mp/wire.ts"),
      import("./classic-files.ts"),
      import("../../node/classic/datagram-runner.ts"),
    ]);
    if (options.encoding === "ascii" && segmentBytes % 2 === 1)
      run.note(
        `an odd MSS leaves the last byte of every packet outside the checksum; ${segmentBytes + 1} would not`,
      );
    const source = files.openSource(file, options, run);
    const receivers = await Promise.all(hosts.map((host) => runner.resolvePeer(host, port)));
    const machine = new P2mpSender({
      encoding: ENCODINGS[options.encoding],
      receivers,
      source,
      segmentBytes,
      ...(options.giveUp === undefined ? {} : { giveUpUs: options.giveUp }),
    });
    const outcome = await runner.runDatagramMachine(machine, {
      binding: runner.localBinding(receivers),
      signal: run.signal,
      onEvent: run.handleEvent,
    });
    if (outcome.result !== "failed") Object.assign(run.totals, { files: 1, bytes: source.sizeBytes });
    return outcome;
  });
}

function parsed(command: Command, parse: () => number): number {
  try {
    return parse();
  } catch (error) {
    if (error instanceof InvalidArgumentError) return command.error(`error: ${error.message}`);
    throw error;
  }
}
