/** Answers pings in capitals, and on request loses some of them like the course's server. Pure. */
import { GodwitError } from "../../base/errors.ts";
import { CLASSIC_PING_REPLIES_PER_SECOND } from "../../base/limits.ts";
import { OutboxMachine } from "../machine.ts";
import type { ClassicMachine, ClassicOutcome, PeerAddress } from "../machine.ts";
import { asciiText, pingAnswer, pingSequence } from "./ping-text.ts";

/** Settings of a server. */
export interface HeartbeatServerOptions {
  /** Probability of no answer. The course's server: 4/11. */
  readonly lossProbability: number;
  /** A number in [0, 1) for each ping. */
  readonly random: () => number;
}

/** Answers until it is stopped. */
export class HeartbeatServer extends OutboxMachine implements ClassicMachine {
  private readonly options: HeartbeatServerOptions;
  private budget = CLASSIC_PING_REPLIES_PER_SECOND;
  private budgetAtUs: number;
  private result: ClassicOutcome | undefined;

  constructor(options: HeartbeatServerOptions, nowUs: number) {
    super();
    this.options = options;
    this.budgetAtUs = nowUs;
  }

  get outcome(): ClassicOutcome | undefined {
    return this.result;
  }

  handleDatagram(bytes: Uint8Array, from: PeerAddress, nowUs: number): void {
    const sequence = pingSequence(bytes);
    if (this.result !== undefined || sequence === undefined) return;
    const earned = ((nowUs - this.budgetAtUs) * CLASSIC_PING_REPLIES_PER_SECOND) / 1_000_000;
    this.budget = Math.min(CLASSIC_PING_REPLIES_PER_SECOND, this.budget + Math.max(0, earned));
    this.budgetAtUs = nowUs;
    if (this.budget < 1) return;
    this.budget--;
    if (this.options.random() < this.options.lossProbability) {
      this.outbox.emit({ type: "ping-dropped", peer: from, sequence });
      return;
    }
    this.outbox.emit({ type: "ping-answered", line: `${from}: ${asciiText(bytes)}`, peer: from, sequence });
    this.outbox.send(from, pingAnswer(bytes));
  }

  handleTimeout(): void {
    // Nothing here depends on time.
  }

  handleStop(): void {
    this.result ??= {
      result: "failed",
      error: new GodwitError("INTERRUPTED", "the ping server was stopped"),
    };
  }
}
