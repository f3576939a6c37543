/**
 * Answers pings on the UDP port of the hashed transfer while it runs: the original server pings that
 * port of its own machine ten times before it listens, 5 s each when nobody answers.
 */
import { GodwitError } from "../../base/errors.ts";
import { HeartbeatServer } from "../../classic/heartbeat/heartbeat-server.ts";
import type { ClassicEvent } from "../../classic/machine.ts";
import { monotonicUs, runDatagramMachine } from "./datagram-runner.ts";

/** Answers until the signal. Does nothing if the port is taken: then someone else answers. */
export async function answerPings(
  port: number,
  signal: AbortSignal,
  onEvent?: (event: ClassicEvent) => void,
): Promise<void> {
  const machine = new HeartbeatServer({ lossProbability: 0, random: () => 0 }, monotonicUs());
  try {
    await runDatagramMachine(machine, {
      binding: { port },
      signal,
      ...(onEvent === undefined ? {} : { onEvent: (event) => onEvent(withoutLine(event)) }),
    });
  } catch (error) {
    if (!(error instanceof GodwitError)) throw error;
  }
}

/** The original prints nothing for these. */
function withoutLine(event: ClassicEvent): ClassicEvent {
  const { line: _line, ...rest } = event;
  return rest;
}
