/** `godwit classic chunks server|client`: numbered chunks, one at a time. docs/classic/chunks.md */
import { Command, Option } from "commander";
import type { EditionName } from "../../classic/chunks/edition.ts";
import {
  addCommonOptions,
  bytesArgument,
  hostPortArgument,
  portArgument,
  runClassic,
  secondsArgument,
  wholeNumber,
} from "./classic-report.ts";
import type { ClassicCommonOptions } from "./classic-report.ts";
import { sha256Argument } from "./classic-files.ts";

interface ServerOptions extends ClassicCommonOptions {
  readonly edition: EditionName;
  readonly buffer?: number;
  readonly bind?: string;
  readonly maxSize?: number;
  readonly maxClients?: number;
  readonly idle?: number;
  readonly once?: boolean;
  readonly keepExisting?: boolean;
  readonly digest?: boolean;
  readonly expectSha256?: string;
}

interface ClientOptions extends ClassicCommonOptions {
  readonly edition: EditionName;
  readonly first: number;
  readonly maxDatagram?: number;
  readonly attempts?: number;
  readonly digest?: boolean;
}

const edition = (): Option =>
  new Option("--edition <name>", "year of the wire").choices(["f21", "f22", "s23", "s24"]).default("f22");

/** The command with its two roles. */
export function chunksCommand(): Command {
  const chunks = new Command("chunks").description(
    "name and size first, then numbered chunks, one at a time",
  );
  const server = chunks
    .command("server")
    .description("receive files into DIR")
    .argument("<port>", "UDP port, 0 for any", portArgument)
    .argument("[dir]", "directory for received files", ".")
    .addOption(edition())
    .option("--buffer <bytes>", "largest datagram to announce (default: 1024)", (text) =>
      wholeNumber(text, 12, 65_507, "a buffer size"),
    )
    .option("--bind <address>", "listen on this address only (default: all)")
    .option("--max-size <bytes>", "largest file to accept (default: 16G)", bytesArgument)
    .option("--max-clients <number>", "sessions at once (default: 64)", (text) =>
      wholeNumber(text, 1, 10_000, "a number of clients"),
    )
    .option(
      "--idle <seconds>",
      "silence that ends an unfinished session (default: 3, s23 and s24: 60)",
      secondsArgument,
    )
    .option("--once", "end after one transfer, with its exit status")
    .option("--keep-existing", "refuse to replace a file, where the original does")
    .option("--digest", "print the SHA-256 of each file")
    .option("--expect-sha256 <hex>", "save only contents with this SHA-256", sha256Argument);
  addCommonOptions(server).action(runServer);
  const client = chunks
    .command("client")
    .description("send LOCAL under the name REMOTE")
    .argument("<host:port>", "the server", hostPortArgument)
    .argument("<local>", "file to send")
    .argument("<remote>", "name at the server (edition f21: only its extension counts)")
    .addOption(edition())
    .option(
      "--first <number>",
      "first sequence number",
      (text: string) => wholeNumber(text, 0, 2 ** 40, "a sequence number"),
      0,
    )
    .option("--max-datagram <bytes>", "send no larger datagram, whatever the server allows", (text) =>
      wholeNumber(text, 64, 65_507, "a datagram size"),
    )
    .option(
      "--attempts <number>",
      "sends of one message before giving up (default: 5, s23 and s24: 60)",
      (text) => wholeNumber(text, 1, 1_000_000, "a number of attempts"),
    )
    .option("--digest", "print the SHA-256 of what was sent");
  addCommonOptions(client).action(runClient);
  return chunks;
}

async function runServer(port: number, directory: string, options: ServerOptions): Promise<void> {
  await runClassic(options, "stdout", async (run) => {
    const [{ ChunksServer }, { EDITIONS }, { directoryStore }, files, { runDatagramMachine }] =
      await Promise.all([
        import("../../classic/chunks/server.ts"),
        import("../../classic/chunks/edition.ts"),
        import("../../node/classic/file-bytes.ts"),
        import("./classic-files.ts"),
        import("../../node/classic/datagram-runner.ts"),
      ]);
    files.checkDirectory(directory);
    const machine = new ChunksServer({
      edition: EDITIONS[options.edition],
      store: directoryStore(directory, files.sinkOptions(options, run)),
      ...(options.buffer === undefined ? {} : { bufferBytes: options.buffer }),
      ...(options.maxSize === undefined ? {} : { maxFileBytes: options.maxSize }),
      ...(options.maxClients === undefined ? {} : { maxSessions: options.maxClients }),
      ...(options.idle === undefined ? {} : { idleUs: options.idle }),
      ...(options.once === undefined ? {} : { once: options.once }),
    });
    return runDatagramMachine(machine, {
      binding: { port, ...(options.bind === undefined ? {} : { host: options.bind }) },
      signal: run.signal,
      onEvent: run.handleEvent,
      onListening: files.tellListening(run),
    });
  });
}

async function runClient(
  server: { readonly host: string; readonly port: number },
  local: string,
  remote: string,
  options: ClientOptions,
): Promise<void> {
  await runClassic(options, "stdout", async (run) => {
    const [{ ChunksClient }, { EDITIONS }, files, { resolvePeer, runDatagramMachine, localBinding }] =
      await Promise.all([
        import("../../classic/chunks/client.ts"),
        import("../../classic/chunks/edition.ts"),
        import("./classic-files.ts"),
        import("../../node/classic/datagram-runner.ts"),
      ]);
    const source = files.openSource(local, options, run);
    const peer = await resolvePeer(server.host, server.port);
    const machine = new ChunksClient({
      edition: EDITIONS[options.edition],
      server: peer,
      source,
      remoteName: remote,
      firstSequence: options.first,
      ...(options.maxDatagram === undefined ? {} : { maxDatagramBytes: options.maxDatagram }),
      ...(options.attempts === undefined ? {} : { attempts: options.attempts }),
    });
    const outcome = await runDatagramMachine(machine, {
      binding: localBinding([peer]),
      signal: run.signal,
      onEvent: run.handleEvent,
    });
    if (outcome.result !== "failed") Object.assign(run.totals, { files: 1, bytes: source.sizeBytes });
    return outcome;
  });
}
