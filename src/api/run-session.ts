/** Runs one client session on a dialled connection: what `send`, `get` and `list` have in common. */
import { performance } from "node:perf_hooks";
import { printable } from "../files/printable.ts";
import { monotonicNowUs } from "../node/clock.ts";
import { loadBlake3 } from "../node/hash.ts";
import type { Host } from "../node/host.ts";
import type { Connection } from "../transport/connection.ts";
import { ClientSession, type ClientRequest } from "../transfer/client-session.ts";
import { dial } from "./dial.ts";
import type { DialOptions } from "./options.ts";
import { PathHistory, type PathSample } from "./path-history.ts";
import { pathReport, type PathReport } from "./path-report.ts";
import { receiptHost, receiptOf } from "./receipt.ts";
import type { Target } from "./target.ts";
import { transferResult, type TransferContext, type TransferResult } from "./transfer.ts";

/** Joins something of the host's, such as a stream, to a session; returns what undoes it. */
export type SessionAttachment = (session: ClientSession, host: Host, connection: Connection) => () => void;

/** Options of a session. */
export interface SessionOptions extends DialOptions {
  /** Keep what the receiver of a push signs. */
  readonly receipt?: boolean | undefined;
}

/**
 * Dials, runs the request to its end, and closes.
 *
 * @throws GodwitError what `dial` throws, and the code of a transfer that failed as a whole.
 */
export async function runSession(
  target: Target,
  request: ClientRequest,
  options: SessionOptions,
  context: TransferContext,
  attach?: SessionAttachment,
): Promise<TransferResult> {
  const hash = await loadBlake3();
  const startedUs = monotonicNowUs();
  const idleBefore = performance.eventLoopUtilization();
  const history = new PathHistory();
  const dialled = await dial(target, options, (event) => {
    history.add(event, monotonicNowUs() - startedUs);
    context.emit(event);
  });
  const { host, connection, fingerprint } = dialled;
  const isCapped = options.rateBytesPerSecond !== undefined;
  const session = new ClientSession(
    {
      hash,
      peerKey: connection.peerIdentity ?? new Uint8Array(32),
      peerFingerprint: fingerprint,
      peerAddress: target.address,
      umask: process.umask(),
      patienceUs: options.patienceUs,
      receipts: receiptHost(dialled.identity, dialled.crypto, options.receipt === true),
    },
    request,
    monotonicNowUs(),
  );
  const measure = (samples: readonly PathSample[]): PathReport =>
    pathReport(connection.statistics(monotonicNowUs()), {
      isReceiver: request.mode !== "push" && request.mode !== "push-pipe",
      isCapped,
      receiverBacklogBytes: session.receiverBacklogBytes,
      busyFraction: performance.eventLoopUtilization(idleBefore).utilization,
      history: samples,
    });
  context.reportPath(() => measure([]));
  const abort = (): void => {
    session.cancel("INTERRUPTED", "interrupted; run the same command to resume", monotonicNowUs());
    host.wake();
  };
  options.signal?.addEventListener("abort", abort, { once: true });
  let detach: (() => void) | undefined;
  try {
    const outcome = host.run(connection, session, true);
    detach = attach?.(session, host, connection);
    if (options.signal?.aborted === true) abort();
    const ended = await outcome;
    const facts = {
      seconds: (monotonicNowUs() - startedUs) / 1e6,
      peer: { fingerprint, address: printable(target.address) },
      path: measure(history.samples),
      ...(options.receipt === true && session.receipt !== undefined
        ? { receipt: receiptOf(session.receipt, dialled.crypto) }
        : {}),
    };
    await host.closing(connection);
    return transferResult(ended, facts);
  } finally {
    options.signal?.removeEventListener("abort", abort);
    detach?.();
    host.close();
  }
}
