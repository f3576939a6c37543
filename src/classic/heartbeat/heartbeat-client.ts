/**
 * The UDP pinger: numbered pings one after the other, round-trip times, loss.
 *
 * Pure. A reply counts for the ping whose number it carries, whatever its case: one that comes too
 * late is late, not the next ping's.
 */
import { GodwitError } from "../../base/errors.ts";
import { OutboxMachine } from "../machine.ts";
import type { ClassicMachine, ClassicOutcome, PeerAddress } from "../machine.ts";
import { asciiText, pingBytes, pingSequence } from "./ping-text.ts";

/** Settings of a client. */
export interface HeartbeatClientOptions {
  readonly server: PeerAddress;
  /** Pings to send. The course's ten. */
  readonly count: number;
  /** How long a reply counts, in microseconds. The course's 1 s; the heartbeat of system 004 waits 5 s. */
  readonly timeoutUs: number;
  /** Time between the end of one ping and the next, in microseconds. The originals: 0. */
  readonly intervalUs?: number;
  /** `Ping` or `PING`. */
  readonly word?: string;
  /** The time as the ping's text shows it. */
  readonly timeText: (sequence: number) => string;
}

/** What a series of pings measured. Times in microseconds; `undefined` when no reply came. */
export interface PingStatistics {
  readonly sent: number;
  readonly received: number;
  readonly late: number;
  readonly lossPercent: number;
  readonly minRttUs: number | undefined;
  readonly averageRttUs: number | undefined;
  readonly maxRttUs: number | undefined;
}

/** Sends one series. */
export class HeartbeatClient extends OutboxMachine implements ClassicMachine {
  private readonly options: HeartbeatClientOptions;
  private sequence = 0;
  private sentAtUs = 0;
  private isWaiting = false;
  private received = 0;
  private late = 0;
  private sumUs = 0;
  private minUs = Infinity;
  private maxUs = 0;
  private result: ClassicOutcome | undefined;

  constructor(options: HeartbeatClientOptions, nowUs: number) {
    super();
    this.options = options;
    this.sendNext(nowUs);
  }

  get outcome(): ClassicOutcome | undefined {
    return this.result;
  }

  /** The numbers so far. */
  get statistics(): PingStatistics {
    const { received, late, sequence: sent } = this;
    const hasReplies = received > 0;
    return {
      sent,
      received,
      late,
      lossPercent: sent === 0 ? 0 : ((sent - received) / sent) * 100,
      minRttUs: hasReplies ? this.minUs : undefined,
      averageRttUs: hasReplies ? this.sumUs / received : undefined,
      maxRttUs: hasReplies ? this.maxUs : undefined,
    };
  }

  handleDatagram(bytes: Uint8Array, from: PeerAddress, nowUs: number): void {
    const sequence = pingSequence(bytes);
    if (this.result !== undefined || from !== this.options.server || sequence === undefined) return;
    if (!this.isWaiting || sequence !== this.sequence) {
      if (sequence > 0 && sequence <= this.sequence) {
        this.late++;
        this.outbox.emit({ type: "ping-late", peer: from, sequence });
      }
      return;
    }
    const rttUs = nowUs - this.sentAtUs;
    this.received++;
    this.sumUs += rttUs;
    this.minUs = Math.min(this.minUs, rttUs);
    this.maxUs = Math.max(this.maxUs, rttUs);
    this.outbox.emit({
      type: "ping-replied",
      line: `Reply from ${from}: ${asciiText(bytes)}`,
      peer: from,
      sequence,
      facts: { rttUs },
    });
    this.outbox.emit({ type: "rtt-measured", line: `RTT: ${(rttUs / 1_000_000).toFixed(6)}`, sequence });
    this.endPing(nowUs);
  }

  handleTimeout(nowUs: number): void {
    if (this.deadlineUs === undefined || nowUs < this.deadlineUs) return;
    if (this.isWaiting) {
      this.outbox.emit({ type: "ping-lost", line: "Request timed out", sequence: this.sequence });
      this.endPing(nowUs);
    } else this.sendNext(nowUs);
  }

  handleStop(): void {
    if (this.result === undefined) this.finish();
  }

  private endPing(nowUs: number): void {
    this.isWaiting = false;
    const intervalUs = this.options.intervalUs ?? 0;
    if (this.sequence === this.options.count) this.finish();
    else if (intervalUs === 0) this.sendNext(nowUs);
    else this.deadlineUs = nowUs + intervalUs;
  }

  private sendNext(nowUs: number): void {
    const { server, timeoutUs, timeText, word = "Ping" } = this.options;
    this.sequence++;
    this.isWaiting = true;
    this.sentAtUs = nowUs;
    this.deadlineUs = nowUs + timeoutUs;
    this.outbox.send(server, pingBytes(word, this.sequence, timeText(this.sequence)));
  }

  private finish(): void {
    this.deadlineUs = undefined;
    // Stopped while a reply was awaited: that ping is neither received nor lost.
    if (this.isWaiting) this.sequence--;
    this.isWaiting = false;
    const { sent, received, late, lossPercent, minRttUs, averageRttUs, maxRttUs } = this.statistics;
    const hasTimes = minRttUs !== undefined && averageRttUs !== undefined && maxRttUs !== undefined;
    const seconds = (us: number): string => (us / 1_000_000).toFixed(6);
    const times = hasTimes
      ? `min/avg/max RTT: ${seconds(minRttUs)}/${seconds(averageRttUs)}/${seconds(maxRttUs)} s`
      : "no reply, no times";
    const { server } = this.options;
    this.outbox.emit({
      type: "ping-statistics",
      line: `${times}, loss: ${Math.round(lossPercent)} % (${sent - received} of ${sent})`,
      peer: server,
      facts: {
        sent,
        received,
        late,
        lossPercent,
        ...(hasTimes ? { minRttUs, averageRttUs, maxRttUs } : {}),
      },
    });
    const error = new GodwitError("UNREACHABLE", `${server} answered none of ${sent} pings`, {
      peer: server,
    });
    this.result = received > 0 ? { result: "complete" } : { result: "failed", error };
  }
}
