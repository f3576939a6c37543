/** `ping()`: authenticated round trips and facts about the path. */
import { GodwitError } from "../base/errors.ts";
import { printable } from "../files/printable.ts";
import { monotonicNowUs } from "../node/clock.ts";
import { dial } from "./dial.ts";
import type { DialOptions } from "./options.ts";
import { parseTarget } from "./target.ts";

/** Options of `ping`. */
export interface PingOptions extends DialOptions {
  /** Round trips to measure. Default 4. */
  readonly count?: number | undefined;
  /** Pause between them in milliseconds. Default 200. */
  readonly intervalMs?: number | undefined;
  /** Called for each round trip: its time in microseconds, or `undefined` when no answer came. */
  readonly onReply?: ((sequence: number, rttUs: number | undefined) => void) | undefined;
}

/** What the round trips showed. Times in microseconds. */
export interface PingResult {
  readonly sent: number;
  readonly received: number;
  readonly minUs: number;
  readonly averageUs: number;
  readonly maxUs: number;
  /** Mean difference between one round trip and the next. RFC 3550 §6.4.1 without smoothing. */
  readonly jitterUs: number;
  /** Share of lost ones, 0 to 1. */
  readonly lossFraction: number;
  /** Largest datagram known to pass, in bytes of UDP payload. */
  readonly datagramBytes: number;
  readonly peer: { readonly fingerprint: string; readonly address: string; readonly agent: string };
}

/** How long a reply may take, in milliseconds. */
const REPLY_LIMIT_MS = 3_000;

/**
 * Measures round trips inside an encrypted, authenticated connection.
 *
 * @throws GodwitError like every dial; UNREACHABLE when no reply came at all.
 */
export async function ping(to: string, options: PingOptions = {}): Promise<PingResult> {
  const target = parseTarget(to);
  const count = options.count ?? 4;
  if (!Number.isInteger(count) || count < 1)
    throw new GodwitError("USAGE", "the count is a whole number from 1 on");
  let onHeartbeat: ((rttUs: number) => void) | undefined;
  const { host, connection, fingerprint } = await dial(target, options, (event) => {
    if (event.type === "heartbeat") onHeartbeat?.(event.rttUs);
  });
  const interrupted = new Promise<never>((_, reject) => {
    options.signal?.addEventListener("abort", () => reject(new GodwitError("INTERRUPTED", "interrupted")), {
      once: true,
    });
  });
  interrupted.catch(() => undefined);
  try {
    const rtts: number[] = [];
    for (let sequence = 1; sequence <= count; sequence++) {
      if (connection.state !== "established") break;
      let timer: NodeJS.Timeout | undefined;
      const reply = new Promise<number | undefined>((resolve) => {
        onHeartbeat = resolve;
        timer = setTimeout(() => resolve(undefined), REPLY_LIMIT_MS);
      });
      connection.ping();
      host.wake();
      const rttUs = await Promise.race([reply, interrupted]).finally(() => clearTimeout(timer));
      options.onReply?.(sequence, rttUs);
      if (rttUs !== undefined) rtts.push(rttUs);
      if (sequence < count) {
        await Promise.race([
          new Promise((resolve) => setTimeout(resolve, options.intervalMs ?? 200)),
          interrupted,
        ]);
      }
    }
    if (rtts.length === 0) {
      throw (
        connection.closeReason ??
        new GodwitError("UNREACHABLE", `${target.address} stopped answering; try again`, {
          peer: target.address,
        })
      );
    }
    const steps = rtts.slice(1).map((rttUs, i) => Math.abs(rttUs - rtts[i]));
    const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
    return {
      sent: count,
      received: rtts.length,
      minUs: Math.min(...rtts),
      averageUs: sum(rtts) / rtts.length,
      maxUs: Math.max(...rtts),
      jitterUs: steps.length === 0 ? 0 : sum(steps) / steps.length,
      lossFraction: 1 - rtts.length / count,
      datagramBytes: connection.statistics(monotonicNowUs()).datagramBytes,
      peer: {
        fingerprint,
        address: target.address,
        agent: printable(connection.peerParameters?.agent ?? ""),
      },
    };
  } finally {
    connection.close(undefined, "", monotonicNowUs());
    await host.closing(connection);
    host.close();
  }
}
