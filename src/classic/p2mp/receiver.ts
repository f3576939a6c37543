/**
 * The receiving end of the point-to-multipoint system (its "server"): one file, packets in order,
 * a cumulative acknowledgement, and losses made on purpose. docs/classic/p2mp.md
 *
 * The original's wire has no end of file. The end is decided here by what evidence there is: a size
 * told beforehand, a packet shorter than the first, or silence.
 */
import { equalBytes } from "../../base/bytes.ts";
import { GodwitError } from "../../base/errors.ts";
import type { ErrorCode } from "../../base/errors.ts";
import { CLASSIC_FILE_BYTES } from "../../base/limits.ts";
import { OutboxMachine } from "../machine.ts";
import type { ByteSink, ClassicMachine, ClassicOutcome, PeerAddress } from "../machine.ts";
import { hostOf, RETRY_US } from "./sender.ts";
import { printedSequence } from "./wire.ts";
import type { P2mpEncoding, P2mpMessage } from "./wire.ts";

/** Silence that ends a file of unknown size. The original waits 600 s and then fails. */
const IDLE_US = 60_000_000;

/**
 * Silence that ends a file whose end is known or very likely: 50 timer periods of the sender, in
 * which repeated packets are still acknowledged.
 */
const LINGER_US = 5_000_000;

/** Silence before a stop by the user from which on the sender counts as done: ten of its timer periods. */
const QUIET_US = 1_000_000;

/** File bytes between two progress events. */
const PROGRESS_BYTES = 64 * 1024;

/** Settings of a receiver. */
export interface P2mpReceiverOptions {
  readonly encoding: P2mpEncoding;
  /** Opens the staging file; called at the first packet, or at the end of an empty file. */
  readonly createSink: () => ByteSink;
  /** Probability with which a packet is dropped on purpose, 0 to below 1. */
  readonly lossProbability: number;
  /** A number in [0, 1), drawn once for each datagram. */
  readonly random: () => number;
  readonly idleUs?: number;
  /** Size of the file, told by the sender's user some other way: makes the end certain. */
  readonly expectedBytes?: number;
  readonly maxFileBytes?: number;
}

/** A receiver of one file. */
export class P2mpReceiver extends OutboxMachine implements ClassicMachine {
  outcome: ClassicOutcome | undefined;
  private readonly encoding: P2mpEncoding;
  private readonly createSink: () => ByteSink;
  private readonly lossProbability: number;
  private readonly random: () => number;
  private readonly idleUs: number;
  private readonly expectedBytes: number | undefined;
  private readonly maxFileBytes: number;
  private sink: ByteSink | undefined;
  private isCommitted = false;
  private sequence: number;
  private receivedBytes = 0;
  private reportedBytes = 0;
  private firstPayloadBytes = 0;
  private lastPayload = new Uint8Array(0);
  /** The sender's host once the first packet is stored, and its port while that never changed. */
  private host: string | undefined;
  private onlyPeer: PeerAddress | undefined;
  private heardUs = 0;
  private wrongAnswerUs = -Infinity;
  private ignoredDatagrams = 0;

  constructor(options: P2mpReceiverOptions) {
    super();
    this.encoding = options.encoding;
    this.createSink = options.createSink;
    this.lossProbability = options.lossProbability;
    this.random = options.random;
    this.idleUs = options.idleUs ?? IDLE_US;
    this.expectedBytes = options.expectedBytes;
    this.maxFileBytes = options.maxFileBytes ?? CLASSIC_FILE_BYTES;
    this.sequence = this.encoding.firstSequence - 1;
  }

  handleDatagram(bytes: Uint8Array, from: PeerAddress, nowUs: number): void {
    if (this.outcome !== undefined) return;
    const message = this.encoding.parse(bytes);
    if (this.random() < this.lossProbability) {
      this.drop(message, from);
      return;
    }
    if (message === undefined || message.type === "ack") this.ignore(from, "not a packet of this system");
    else if (this.host !== undefined && hostOf(from) !== this.host) this.ignore(from, "not from the sender");
    else if (message.type === "end") this.handleEnd(message.sequence, from, nowUs);
    else if (!message.isIntact)
      this.outbox.emit({
        type: "datagram-damaged",
        line: `checksum_valid failed for ${message.sequence}`,
        peer: from,
        sequence: message.sequence,
      });
    else this.handleData(message.sequence, message.payload, from, nowUs);
  }

  private drop(message: P2mpMessage | undefined, from: PeerAddress): void {
    if (message === undefined) return;
    this.outbox.emit({
      type: "datagram-dropped",
      line: `Packet loss, sequence number = ${printedSequence(message.sequence)}`,
      peer: from,
      sequence: message.sequence,
    });
  }

  private handleData(sequence: number, payload: Uint8Array, from: PeerAddress, nowUs: number): void {
    if (payload.length === 0) {
      this.ignore(from, "a packet without data");
      return;
    }
    if (sequence === this.sequence + 1 && !this.isCommitted) {
      if (!this.store(payload, from, nowUs)) return;
    } else if (sequence === this.sequence && !equalBytes(payload, this.lastPayload)) {
      // The number of the last packet with other contents: a sender that has begun another file.
      // Acknowledging it would let that sender believe that its packet is stored.
      this.ignore(from, "a packet of another file");
      return;
    } else if (sequence !== this.sequence) {
      this.answerWrong(from, nowUs);
      return;
    }
    this.heardUs = nowUs;
    this.outbox.send(from, this.encoding.ack(this.sequence));
  }

  /**
   * Answers a packet that is not expected with the last one in order, as the original does, but not
   * more often than its timer: the original's client sends again at once, 2000 times a second.
   */
  private answerWrong(to: PeerAddress, nowUs: number): void {
    if (this.sequence < 0 || nowUs - this.wrongAnswerUs < RETRY_US) return;
    this.wrongAnswerUs = nowUs;
    this.outbox.send(to, this.encoding.ack(this.sequence));
  }

  /** Appends a packet. Returns whether it may be acknowledged. */
  private store(payload: Uint8Array, from: PeerAddress, nowUs: number): boolean {
    const totalBytes = this.receivedBytes + payload.length;
    if (totalBytes > this.maxFileBytes) {
      this.fail("OVER_LIMIT", `the file is larger than the ${this.maxFileBytes} bytes allowed`);
      return false;
    }
    if (this.expectedBytes !== undefined && totalBytes > this.expectedBytes) {
      this.fail("VERIFICATION_FAILED", `the file is larger than the ${this.expectedBytes} bytes expected`);
      return false;
    }
    try {
      this.sink ??= this.createSink();
      this.sink.write(payload);
    } catch (error) {
      this.failWith(error);
      return false;
    }
    if (this.host === undefined) {
      this.host = hostOf(from);
      this.onlyPeer = from;
      this.firstPayloadBytes = payload.length;
      this.outbox.emit({ type: "session-started", peer: from });
    } else if (this.onlyPeer !== from) this.onlyPeer = undefined;
    this.sequence++;
    this.receivedBytes = totalBytes;
    this.lastPayload = payload.slice();
    this.heardUs = nowUs;
    if (totalBytes - this.reportedBytes >= PROGRESS_BYTES) {
      this.reportedBytes = totalBytes;
      this.outbox.emit({ type: "progress", doneBytes: totalBytes });
    }
    return totalBytes !== this.expectedBytes || this.commit();
  }

  /** End of file in the binary form: echoed, as often as it comes. */
  private handleEnd(sequence: number, from: PeerAddress, nowUs: number): void {
    // A late copy of an earlier transfer's end must not cut this file short.
    if (!this.isCommitted && this.onlyPeer !== undefined && this.onlyPeer !== from) {
      this.ignore(from, "an end of file from another port than the data");
      return;
    }
    if (!this.isCommitted) {
      if (this.expectedBytes !== undefined && this.receivedBytes < this.expectedBytes) {
        this.fail(
          "VERIFICATION_FAILED",
          `the file ended after ${this.receivedBytes} of the ${this.expectedBytes} bytes expected`,
        );
        return;
      }
      if (!this.commit()) return;
    }
    this.host ??= hostOf(from);
    this.heardUs = nowUs;
    this.outbox.send(from, this.encoding.end(sequence));
  }

  /** Gives the file its name. Returns whether that worked. */
  private commit(): boolean {
    try {
      this.sink ??= this.createSink();
      this.sink.commit();
    } catch (error) {
      this.failWith(error);
      return false;
    }
    this.sink = undefined;
    this.isCommitted = true;
    this.outbox.emit({ type: "file-committed", doneBytes: this.receivedBytes });
    return true;
  }

  /** Whether the last packet was shorter than the first: then it was the last of the file. */
  private get hasShortEnd(): boolean {
    return this.receivedBytes > 0 && this.lastPayload.length < this.firstPayloadBytes;
  }

  override nextTimeoutUs(): number | undefined {
    if (this.outcome !== undefined || this.host === undefined) return undefined;
    if (this.isCommitted) return this.heardUs + LINGER_US;
    const isLikelyOver = this.hasShortEnd && this.expectedBytes === undefined;
    return this.heardUs + (isLikelyOver ? Math.min(LINGER_US, this.idleUs) : this.idleUs);
  }

  handleTimeout(nowUs: number): void {
    const dueUs = this.nextTimeoutUs();
    if (dueUs === undefined || dueUs > nowUs) return;
    if (this.isCommitted) this.outcome = { result: "complete" };
    else this.concludeBySilence();
  }

  private concludeBySilence(): void {
    const { receivedBytes, expectedBytes } = this;
    if (expectedBytes !== undefined || (this.encoding.hasEnd && !this.hasShortEnd)) {
      const known = expectedBytes === undefined ? "before the end of the file" : `of ${expectedBytes}`;
      this.fail(
        "IDLE_TIMEOUT",
        `the sender fell silent after ${receivedBytes} bytes ${known}; nothing was saved`,
      );
      return;
    }
    if (!this.commit()) return;
    this.outcome = {
      result: "probably-complete",
      reason: this.hasShortEnd
        ? `${receivedBytes} bytes with a shorter last packet, then silence and no sign that this was all`
        : `${receivedBytes} bytes, then silence. The last packet was as long as the first, so the file may be cut short: compare its size with the sender's`,
    };
  }

  handleStop(nowUs: number): void {
    if (this.outcome !== undefined) return;
    const isQuiet = nowUs - this.heardUs >= QUIET_US || this.hasShortEnd;
    if (this.isCommitted) this.outcome = { result: "complete" };
    else if (this.receivedBytes > 0 && isQuiet && this.expectedBytes === undefined) this.concludeBySilence();
    else this.fail("INTERRUPTED", "interrupted before the file was complete; nothing was saved");
  }

  private fail(code: ErrorCode, text: string): void {
    this.failWith(new GodwitError(code, text));
  }

  private failWith(error: unknown): void {
    if (!(error instanceof GodwitError)) throw error;
    this.sink?.abort();
    this.sink = undefined;
    this.outcome = { result: "failed", error };
  }

  /** Tells about ignored datagrams at counts 1, 2, 4, 8 …: a flood must not become a flood of events. */
  private ignore(from: PeerAddress, reason: string): void {
    const count = ++this.ignoredDatagrams;
    if ((count & (count - 1)) !== 0) return;
    this.outbox.emit({ type: "datagram-ignored", peer: from, reason, facts: { ignoredDatagrams: count } });
  }
}
