/** The server of the number exchange: answers a name and a number with its own, and ends at one out of range. Pure. */
import { GodwitError } from "../../base/errors.ts";
import { CLASSIC_SUM_REMEMBERED } from "../../base/limits.ts";
import { OutboxMachine } from "../machine.ts";
import type { ClassicMachine, ClassicOutcome, PeerAddress } from "../machine.ts";
import { decodeSumMessage, encodeSumMessage, isInSumRange, sumLines } from "./sum-text.ts";

/**
 * How long the server goes on answering repetitions after a number out of range, in microseconds:
 * longer than a client waits before it repeats, in case the answer was lost.
 */
const LINGER_US = 1_500_000;

/** How long the same request counts as a repetition, in microseconds: five tries of a client, and some. */
const REPEAT_US = 10_000_000;

/** Settings of a server. */
export interface SumServerOptions {
  readonly name: string;
  /** The server's number for each client, 1 to 100. */
  readonly drawNumber: () => number;
}

interface Answered {
  readonly request: string;
  readonly reply: Uint8Array;
  readonly atUs: number;
}

/** Answers until a number out of range comes or it is stopped. */
export class SumServer extends OutboxMachine implements ClassicMachine {
  private readonly options: SumServerOptions;
  /** Last answer by client, so that a repetition gets the same number and is not shown twice. */
  private readonly answered = new Map<PeerAddress, Answered>();
  private endsAtUs: number | undefined;
  private result: ClassicOutcome | undefined;

  constructor(options: SumServerOptions) {
    super();
    this.options = options;
  }

  get outcome(): ClassicOutcome | undefined {
    return this.result;
  }

  handleDatagram(bytes: Uint8Array, from: PeerAddress, nowUs: number): void {
    const message = decodeSumMessage(bytes);
    if (this.result !== undefined || message === undefined) return;
    const request = `${message.name}\n${message.number}`;
    const before = this.answered.get(from);
    if (before?.request === request && nowUs - before.atUs < REPEAT_US) {
      this.outbox.send(from, before.reply.slice());
      return;
    }
    if (this.endsAtUs !== undefined) return;
    const isInRange = isInSumRange(message.number);
    // The recorded server answers 0 before it ends; a client takes 0 for "no result".
    const number = isInRange ? this.options.drawNumber() : 0;
    const own = { name: this.options.name, number, form: message.form };
    const reply = encodeSumMessage(own);
    this.answered.delete(from);
    this.answered.set(from, { request, reply, atUs: nowUs });
    for (const oldest of this.answered.keys()) {
      if (this.answered.size <= CLASSIC_SUM_REMEMBERED) break;
      this.answered.delete(oldest);
    }
    this.outbox.send(from, reply.slice());
    const facts = { clientName: message.name, clientNumber: message.number, serverNumber: number };
    if (isInRange) {
      const lines = sumLines(message, own);
      this.outbox.emit({ type: "numbers-exchanged", line: lines[0], peer: from, facts });
      for (const line of lines.slice(1)) this.outbox.emit({ type: "line", line });
    } else {
      this.endsAtUs = nowUs + LINGER_US;
      const line = `${message.name}: ${message.number} is out of range, ending`;
      this.outbox.emit({ type: "number-out-of-range", line, peer: from, facts });
    }
  }

  handleTimeout(nowUs: number): void {
    if (this.endsAtUs !== undefined && nowUs >= this.endsAtUs) this.result ??= { result: "complete" };
  }

  handleStop(): void {
    this.result ??= { result: "failed", error: new GodwitError("INTERRUPTED", "the server was stopped") };
  }

  override nextTimeoutUs(): number | undefined {
    return this.result === undefined ? this.endsAtUs : undefined;
  }
}
