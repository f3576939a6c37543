/** Fetches the file of a hashed server over TCP and verifies it. */
import { createHash } from "node:crypto";
import * as net from "node:net";
import { GodwitError } from "../../base/errors.ts";
import { HashedReceiver } from "../../classic/hashed/hashed-receiver.ts";
import { HASHED_SIZE_BYTES } from "../../classic/hashed/hashed-wire.ts";
import type { ByteSink, ClassicEvent, ClassicOutcome } from "../../classic/machine.ts";
import { monotonicUs } from "./datagram-runner.ts";

/** Time between two attempts to connect, in milliseconds. */
const RETRY_MS = 250;

/** Longest one attempt to connect takes, in milliseconds. */
const CONNECT_MS = 10_000;

/** Time between two progress events, in microseconds. */
export const PROGRESS_EVERY_US = 100_000;

/** Settings of `fetchHashed`. */
export interface HashedFetchOptions {
  readonly host: string;
  readonly port: number;
  readonly sink: ByteSink;
  /** Largest file to accept, in bytes. */
  readonly limitBytes: number;
  /** How long to try again while nobody listens, in microseconds: the original server pings for up to 51 s first. */
  readonly waitUs: number;
  readonly signal: AbortSignal;
  readonly onEvent?: (event: ClassicEvent) => void;
}

/**
 * Connects, receives, verifies and commits.
 *
 * @throws GodwitError `NAME_NOT_RESOLVED`, `UNREACHABLE` if no connection comes about.
 */
export async function fetchHashed(options: HashedFetchOptions): Promise<ClassicOutcome> {
  try {
    const socket = await connect(options);
    return await receive(socket, options);
  } finally {
    options.sink.abort();
  }
}

async function connect(options: HashedFetchOptions): Promise<net.Socket> {
  const { host, port, signal } = options;
  const endUs = monotonicUs() + options.waitUs;
  for (;;) {
    signal.throwIfAborted();
    try {
      return await connectOnce(host, port, signal);
    } catch (cause) {
      signal.throwIfAborted();
      const code = (cause as NodeJS.ErrnoException).code ?? String(cause);
      if (code === "ENOTFOUND" || code === "EAI_AGAIN")
        throw new GodwitError("NAME_NOT_RESOLVED", `cannot find the address of ${host}; check the name`, {
          cause,
        });
      if (monotonicUs() >= endUs) {
        const text = `cannot connect to ${host} port ${port} (${code}); is the server running?`;
        throw new GodwitError("UNREACHABLE", text, { peer: host, cause });
      }
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

function connectOnce(host: string, port: number, signal: AbortSignal): Promise<net.Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host, port });
    const giveUp = (code: string) => (): void => {
      socket.destroy(Object.assign(new Error(code), { code }));
    };
    const stop = giveUp("EINTR");
    const timer = setTimeout(giveUp("ETIMEDOUT"), CONNECT_MS);
    const settle = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
      socket.removeAllListeners("error");
      socket.removeAllListeners("connect");
    };
    signal.addEventListener("abort", stop);
    socket.once("error", (error) => {
      settle();
      reject(unwrap(error));
    });
    socket.once("connect", () => {
      settle();
      resolve(socket);
    });
  });
}

/** Node tries all addresses of a name and reports them as one error. */
function unwrap(error: Error): Error {
  return error instanceof AggregateError && error.errors[0] instanceof Error ? error.errors[0] : error;
}

function receive(socket: net.Socket, options: HashedFetchOptions): Promise<ClassicOutcome> {
  const { host, port, sink, signal } = options;
  const emit = (event: ClassicEvent): void => options.onEvent?.(event);
  const receiver = new HashedReceiver(createHash("sha512"), options.limitBytes, monotonicUs());
  emit({ type: "session-started", line: `Connected to ('${host}', ${port})`, peer: `${host}:${port}` });
  return new Promise((resolve) => {
    let timer: NodeJS.Timeout | undefined;
    let isOver = false;
    const finish = (outcome: ClassicOutcome): void => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
      socket.destroy();
      resolve(outcome);
    };
    const fail = (error: unknown): void => {
      const known = error instanceof GodwitError ? error : new GodwitError("INTERNAL", String(error));
      finish({ result: "failed", error: known });
    };
    const stop = (): void => fail(new GodwitError("INTERRUPTED", "stopped before the end of the file"));
    const arm = (): void => {
      const dueUs = receiver.nextTimeoutUs();
      if (dueUs === undefined || isOver) return;
      timer = setTimeout(
        () => {
          receiver.handleTimeout(monotonicUs());
          if (receiver.error === undefined) arm();
          else fail(receiver.error);
        },
        Math.max(0, Math.ceil((dueUs - monotonicUs()) / 1_000)),
      );
    };
    let sizeBytes: number | undefined;
    let progressAtUs = 0;
    const settle = (): void => {
      if (isOver) return;
      if (sizeBytes === undefined && receiver.sizeBytes !== undefined) {
        sizeBytes = receiver.sizeBytes;
        emit({ type: "header-received", line: `Received len of file size struct ${HASHED_SIZE_BYTES}` });
        emit({ type: "size-received", line: `Filesize: ${sizeBytes}`, totalBytes: sizeBytes });
      }
      if (receiver.state === "receiving") return;
      if (sizeBytes !== undefined && receiver.receivedBytes === sizeBytes) {
        emit({ type: "file-received", line: "Received file", doneBytes: sizeBytes });
        emit({ type: "size-expected", line: `Expected size: ${sizeBytes}` });
        emit({ type: "size-counted", line: `Received size: ${receiver.receivedBytes}` });
      }
      if (receiver.error !== undefined) {
        if (receiver.error.code === "VERIFICATION_FAILED")
          emit({ type: "digest-wrong", line: "Hash is not correct" });
        fail(receiver.error);
        return;
      }
      try {
        sink.commit();
        emit({ type: "file-committed", line: "Hash is correct", doneBytes: receiver.receivedBytes });
        finish({ result: "complete" });
      } catch (error) {
        fail(error);
      }
    };
    socket.on("data", (bytes) => {
      if (isOver) return;
      receiver.handleBytes(bytes, monotonicUs());
      try {
        // Written before more is read: a slow disk slows the sender down through TCP.
        for (const piece of receiver.takePieces()) sink.write(piece);
      } catch (error) {
        fail(error);
        return;
      }
      const nowUs = monotonicUs();
      if (nowUs - progressAtUs >= PROGRESS_EVERY_US) {
        progressAtUs = nowUs;
        const total = receiver.sizeBytes === undefined ? {} : { totalBytes: receiver.sizeBytes };
        emit({ type: "progress", doneBytes: receiver.receivedBytes, ...total });
      }
      settle();
    });
    const ended = (): void => {
      receiver.handleEnd();
      settle();
    };
    socket.on("end", ended);
    socket.on("error", ended);
    socket.on("close", ended);
    signal.addEventListener("abort", stop);
    if (signal.aborted) stop();
    arm();
  });
}
