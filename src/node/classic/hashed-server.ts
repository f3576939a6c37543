/** Serves one file to every client that connects: the hashed transfer on TCP. */
import { createHash } from "node:crypto";
import * as net from "node:net";
import { GodwitError } from "../../base/errors.ts";
import { CLASSIC_STREAM_CONNECTIONS } from "../../base/limits.ts";
import { HashedSender } from "../../classic/hashed/hashed-sender.ts";
import { HASHED_SIZE_BYTES } from "../../classic/hashed/hashed-wire.ts";
import type { ByteSource, ClassicEvent, ClassicOutcome } from "../../classic/machine.ts";
import { formatPeer, monotonicUs } from "./datagram-runner.ts";
import { openByteSource } from "./file-bytes.ts";
import { PROGRESS_EVERY_US } from "./hashed-client.ts";

/** Bytes handed to the system at once. The original takes 1024; on TCP no one can tell. */
const PIECE_BYTES = 256 * 1024;

/** How long a client may take to close after the last byte, in milliseconds. Then we do. */
const CLOSE_MS = 5_000;

/** Settings of `serveHashed`. */
export interface HashedServeOptions {
  readonly host?: string;
  /** 0 for any free port. */
  readonly port: number;
  readonly file: string;
  /** Clients to serve before it ends; `undefined` serves until the signal. */
  readonly count?: number;
  readonly signal: AbortSignal;
  readonly onEvent?: (event: ClassicEvent) => void;
  readonly onListening?: (host: string, port: number) => void;
}

/**
 * Serves until `count` clients are done or the signal.
 *
 * The outcome is the worst of all clients: `probably-complete` if one reset the connection after the
 * last byte was handed over, as the original client does.
 *
 * @throws GodwitError `SOURCE_MISSING` and the like, `OVER_LIMIT`, `PORT_IN_USE`, `CONFIGURATION`.
 */
export async function serveHashed(options: HashedServeOptions): Promise<ClassicOutcome> {
  // Whatever is wrong with the file is said before anyone connects.
  const probe = openByteSource(options.file);
  try {
    const check = new HashedSender(probe, createHash("sha512"), 0);
    options.onEvent?.({ type: "file-offered", name: options.file, totalBytes: check.sizeBytes });
  } finally {
    probe.close();
  }
  const server = net.createServer({ allowHalfOpen: true });
  server.maxConnections = CLASSIC_STREAM_CONNECTIONS;
  const address = await listen(server, options);
  options.onListening?.(address.address, address.port);
  return new Promise((resolve) => {
    const sockets = new Set<net.Socket>();
    const outcomes: ClassicOutcome[] = [];
    let accepted = 0;
    const finish = (outcome: ClassicOutcome): void => {
      options.signal.removeEventListener("abort", stop);
      server.close();
      for (const socket of sockets) socket.destroy();
      resolve(outcome);
    };
    const stop = (): void =>
      finish({ result: "failed", error: new GodwitError("INTERRUPTED", "the server was stopped") });
    options.signal.addEventListener("abort", stop);
    server.on("connection", (socket) => {
      if (options.count !== undefined && accepted >= options.count) {
        socket.destroy();
        return;
      }
      accepted++;
      sockets.add(socket);
      serveOne(socket, options, (outcome) => {
        sockets.delete(socket);
        if (options.count === undefined || options.signal.aborted) return;
        outcomes.push(outcome);
        if (outcomes.length === options.count) finish(worst(outcomes));
      });
    });
    server.on("error", () => undefined);
    if (options.signal.aborted) stop();
  });
}

function worst(outcomes: readonly ClassicOutcome[]): ClassicOutcome {
  return (
    outcomes.find((outcome) => outcome.result === "failed") ??
    outcomes.find((outcome) => outcome.result === "probably-complete") ?? { result: "complete" }
  );
}

/** Feeds one client; `done` is called once, when its socket is closed. */
function serveOne(
  socket: net.Socket,
  options: HashedServeOptions,
  done: (outcome: ClassicOutcome) => void,
): void {
  const { remoteAddress = "", remotePort = 0 } = socket;
  const peer = formatPeer(remoteAddress, remotePort);
  const emit = (event: ClassicEvent): void => options.onEvent?.({ peer, ...event });
  emit({
    type: "session-started",
    line: `Connection from: ('${peer.slice(0, peer.lastIndexOf(":"))}', ${remotePort})`,
  });
  let source: ByteSource | undefined;
  let sender: HashedSender;
  try {
    source = openByteSource(options.file);
    sender = new HashedSender(source, createHash("sha512"), monotonicUs());
  } catch (error) {
    source?.close();
    socket.destroy();
    const failure =
      error instanceof GodwitError ? error : new GodwitError("SOURCE_UNREADABLE", String(error));
    emit({ type: "session-failed", reason: failure.message });
    done({ result: "failed", error: failure });
    return;
  }
  emit({ type: "size-sent", line: `File size: ${sender.sizeBytes}`, totalBytes: sender.sizeBytes });
  emit({ type: "header-sent", line: `Len of file size struct: ${HASHED_SIZE_BYTES}` });

  let timer: NodeJS.Timeout | undefined;
  let progressAtUs = 0;
  const arm = (): void => {
    clearTimeout(timer);
    const dueUs = sender.nextTimeoutUs();
    if (dueUs === undefined) return;
    timer = setTimeout(
      () => {
        sender.handleTimeout(monotonicUs());
        if (sender.state === "failed") socket.destroy();
        else arm();
      },
      Math.ceil((dueUs - monotonicUs()) / 1_000),
    );
  };
  // One piece at a time: the next is taken when the system has accepted this one, however slowly.
  const pump = (): void => {
    const piece = sender.pollTransmit(PIECE_BYTES, monotonicUs());
    if (piece !== undefined) {
      const nowUs = monotonicUs();
      if (nowUs - progressAtUs >= PROGRESS_EVERY_US) {
        progressAtUs = nowUs;
        emit({ type: "progress", doneBytes: sender.sentBytes, totalBytes: sender.sizeBytes });
      }
      socket.write(piece, (error) => {
        if (!error) pump();
      });
    } else if (sender.state === "failed") {
      // A reset, not an orderly end: the client must not take what it has for the file.
      socket.resetAndDestroy();
    } else {
      clearTimeout(timer);
      socket.end();
      timer = setTimeout(() => socket.destroy(), CLOSE_MS);
    }
  };
  let isReset = false;
  socket.on("error", () => {
    isReset = true;
  });
  // The protocol has nothing to say in this direction.
  socket.resume();
  socket.on("close", () => {
    clearTimeout(timer);
    source.close();
    if (isReset) sender.handleReset();
    else if (sender.isDrained) sender.handleEnd();
    else sender.handleReset();
    const outcome = outcomeOf(sender, peer);
    const reason = outcome.result === "complete" ? undefined : describe(outcome);
    emit({
      type: outcome.result === "failed" ? "session-failed" : "session-completed",
      doneBytes: sender.sentBytes,
      ...(reason === undefined ? {} : { reason }),
    });
    done(outcome);
  });
  socket.setNoDelay(true);
  arm();
  pump();
}

function describe(outcome: ClassicOutcome): string {
  if (outcome.result === "failed") return outcome.error.message;
  return outcome.result === "complete" ? "complete" : outcome.reason;
}

function outcomeOf(sender: HashedSender, peer: string): ClassicOutcome {
  if (sender.state === "sent") return { result: "complete" };
  if (sender.state === "unread") {
    return {
      result: "probably-complete",
      reason: `${peer} closed before it had read everything, as the original client does with files of 64 bytes and more`,
    };
  }
  return { result: "failed", error: sender.error ?? new GodwitError("PEER_GONE", `${peer} went away`) };
}

function listen(server: net.Server, options: HashedServeOptions): Promise<net.AddressInfo> {
  const attempt = (host: string): Promise<net.AddressInfo> =>
    new Promise((resolve, reject) => {
      server.once("error", reject);
      // Node sets SO_REUSEADDR for listeners on POSIX: a restart within the minute works, the original's does not.
      server.listen({ port: options.port, host, backlog: CLASSIC_STREAM_CONNECTIONS }, () => {
        server.removeListener("error", reject);
        resolve(server.address() as net.AddressInfo);
      });
    });
  const explain = (cause: unknown): never => {
    const code = (cause as NodeJS.ErrnoException).code ?? String(cause);
    if (code === "EADDRINUSE") {
      const text = `TCP port ${options.port} is in use; stop the other program or take another port`;
      throw new GodwitError("PORT_IN_USE", text, { cause });
    }
    throw new GodwitError("CONFIGURATION", `cannot listen on port ${options.port}: ${code}`, { cause });
  };
  if (options.host !== undefined) return attempt(options.host).catch(explain);
  return attempt("::").catch((cause: NodeJS.ErrnoException) =>
    // No IPv6 on this machine.
    cause.code === "EADDRINUSE" ? explain(cause) : attempt("0.0.0.0").catch(explain),
  );
}
