/** The client of the number exchange: sends a name and a number, waits for the server's, shows the sum. Pure. */
import { GodwitError } from "../../base/errors.ts";
import { OutboxMachine } from "../machine.ts";
import type { ClassicMachine, ClassicOutcome, PeerAddress } from "../machine.ts";
import {
  SUM_FORM,
  SUM_HIGH,
  SUM_LOW,
  decodeSumMessage,
  encodeSumMessage,
  isInSumRange,
  sumLines,
} from "./sum-text.ts";

/** Time between two tries, in microseconds, and tries altogether. The original waits for ever. */
const RETRY_US = 1_000_000;
const TRIES = 5;

/** Settings of a client. */
export interface SumClientOptions {
  readonly server: PeerAddress;
  readonly name: string;
  /** 1 to 100 for a sum; anything else asks the server to end. */
  readonly number: number;
}

/** One exchange. */
export class SumClient extends OutboxMachine implements ClassicMachine {
  private readonly options: SumClientOptions;
  private tries = 0;
  private result: ClassicOutcome | undefined;

  constructor(options: SumClientOptions, nowUs: number) {
    super();
    this.options = options;
    this.send(nowUs);
  }

  get outcome(): ClassicOutcome | undefined {
    return this.result;
  }

  handleDatagram(bytes: Uint8Array, from: PeerAddress): void {
    const reply = decodeSumMessage(bytes);
    if (this.result !== undefined || from !== this.options.server || reply === undefined) return;
    const { name, number } = this.options;
    if (isInSumRange(reply.number)) {
      const lines = sumLines({ name, number, form: SUM_FORM }, reply);
      const facts = { serverName: reply.name, clientNumber: number, serverNumber: reply.number };
      this.outbox.emit({ type: "numbers-exchanged", line: lines[0], peer: from, facts });
      for (const line of lines.slice(1)) this.outbox.emit({ type: "line", line });
      this.finish({ result: "complete" });
    } else if (isInSumRange(number)) {
      const text = `${reply.name} gave no number from ${SUM_LOW} to ${SUM_HIGH}: it has ended or refused`;
      this.finish({ result: "failed", error: new GodwitError("DECLINED", text, { peer: from }) });
    } else {
      const line = `${reply.name}: ${number} is out of range, the server ends`;
      this.outbox.emit({ type: "server-ended", line, peer: from });
      this.finish({ result: "complete" });
    }
  }

  handleTimeout(nowUs: number): void {
    if (this.deadlineUs === undefined || nowUs < this.deadlineUs) return;
    if (this.tries < TRIES) this.send(nowUs);
    else if (isInSumRange(this.options.number)) {
      const text = `${this.options.server} does not answer; is the server running?`;
      this.finish({
        result: "failed",
        error: new GodwitError("UNREACHABLE", text, { peer: this.options.server }),
      });
    } else {
      const reason = "no answer to a number out of range: the server has ended, or was not there";
      this.finish({ result: "probably-complete", reason });
    }
  }

  handleStop(): void {
    this.finish({ result: "failed", error: new GodwitError("INTERRUPTED", "stopped before the answer") });
  }

  private send(nowUs: number): void {
    this.tries++;
    this.deadlineUs = nowUs + RETRY_US;
    const { server, name, number } = this.options;
    this.outbox.send(server, encodeSumMessage({ name, number, form: SUM_FORM }));
  }

  private finish(outcome: ClassicOutcome): void {
    this.deadlineUs = undefined;
    this.result ??= outcome;
  }
}
