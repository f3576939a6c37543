/**
 * The sending end of the point-to-multipoint system (its "client"): every packet goes to every
 * receiver, and the next one only when all have acknowledged. docs/classic/p2mp.md
 */
import { assert } from "../../base/assert.ts";
import { GodwitError } from "../../base/errors.ts";
import type { ErrorCode } from "../../base/errors.ts";
import { Outbox } from "../machine.ts";
import type {
  ByteSource,
  ClassicEvent,
  ClassicMachine,
  ClassicOutcome,
  PeerAddress,
  Transmit,
} from "../machine.ts";
import { LAST_SEQUENCE, MAX_SEGMENT_BYTES, printedSequence } from "./wire.ts";
import type { P2mpEncoding } from "./wire.ts";

/** Silence after which a packet is sent to a receiver again. The original's 0.1 s. */
export const RETRY_US = 100_000;

/** Silence after which a receiver is given up; the original tries for ever. */
const GIVE_UP_US = 60_000_000;

/** Timer periods with an acknowledgement above ours before a receiver counts as one with an earlier file. */
const AHEAD_PERIODS = 3;

/** Times the end of the file is said before the receiver's own verdict is left open: two seconds. */
const END_ATTEMPTS = 20;

/** File bytes between two progress events. */
const PROGRESS_BYTES = 64 * 1024;

/** Settings of a sender. */
export interface P2mpSenderOptions {
  readonly encoding: P2mpEncoding;
  readonly receivers: readonly PeerAddress[];
  readonly source: ByteSource;
  /** Payload bytes of one packet, 1 to 2040. */
  readonly segmentBytes: number;
  readonly retryUs?: number;
  readonly giveUpUs?: number;
}

interface Receiver {
  readonly peer: PeerAddress;
  readonly host: string;
  state: "waiting" | "acknowledged" | "failed";
  /** Confirmed that it knows the file has ended. */
  hasEnded: boolean;
  error: GodwitError | undefined;
  everHeard: boolean;
  dueUs: number;
  /** When the packet under way was sent for the first time. */
  sinceUs: number;
  sends: number;
  isAhead: boolean;
  aheadPeriods: number;
}

/** A sender. It begins at the first `pollTransmit`. */
export class P2mpSender implements ClassicMachine {
  outcome: ClassicOutcome | undefined;
  private readonly encoding: P2mpEncoding;
  private readonly source: ByteSource;
  private readonly segmentBytes: number;
  private readonly retryUs: number;
  private readonly giveUpUs: number;
  private readonly receivers: readonly Receiver[];
  private readonly outbox = new Outbox();
  private state: "idle" | "sending" | "ending" = "idle";
  private sequence: number;
  private packet: Uint8Array = new Uint8Array(0);
  private offset = 0;
  private payloadBytes = 0;
  private reportedBytes = 0;

  /** @throws GodwitError `USAGE`, `CONFIGURATION` if this wire cannot carry the file. */
  constructor(options: P2mpSenderOptions) {
    const { encoding, source, segmentBytes } = options;
    assert(
      segmentBytes >= 1 && segmentBytes <= MAX_SEGMENT_BYTES,
      "segment size is within the wire's limits",
    );
    if (new Set(options.receivers).size !== options.receivers.length)
      throw new GodwitError("USAGE", "a receiver is named twice; name each one once");
    if (source.sizeBytes === 0 && !encoding.hasEnd)
      throw new GodwitError(
        "CONFIGURATION",
        "this wire cannot say that a file is empty; use --encoding binary at both ends",
      );
    if (Math.ceil(source.sizeBytes / segmentBytes) > LAST_SEQUENCE)
      throw new GodwitError("FILE_TOO_LARGE", "the file needs more packets than there are sequence numbers");
    this.encoding = encoding;
    this.source = source;
    this.segmentBytes = segmentBytes;
    this.retryUs = options.retryUs ?? RETRY_US;
    this.giveUpUs = options.giveUpUs ?? GIVE_UP_US;
    this.sequence = encoding.firstSequence - 1;
    this.receivers = options.receivers.map((peer) => ({
      peer,
      host: hostOf(peer),
      state: "waiting",
      hasEnded: false,
      error: undefined,
      everHeard: false,
      dueUs: 0,
      sinceUs: 0,
      sends: 0,
      isAhead: false,
      aheadPeriods: 0,
    }));
  }

  handleDatagram(bytes: Uint8Array, from: PeerAddress, nowUs: number): void {
    if (this.outcome !== undefined || this.state === "idle") return;
    const receiver = this.receiverAt(from);
    if (receiver === undefined || receiver.state !== "waiting") return;
    const message = this.encoding.parse(bytes);
    if (message?.type === "ack" && this.state === "sending") {
      receiver.everHeard = true;
      // A wrong number waits for the timer. The original answers it at once: 2000 packets a second.
      if (message.sequence === this.sequence) this.acknowledge(receiver, nowUs);
      else if (message.sequence > this.sequence) receiver.isAhead = true;
    } else if (message?.type === "end" && this.state === "ending") {
      receiver.hasEnded = true;
      this.acknowledge(receiver, nowUs);
    }
  }

  /** The receiver at an address. Some answer from another port: then the host decides, if it is only one. */
  private receiverAt(from: PeerAddress): Receiver | undefined {
    const exact = this.receivers.find((receiver) => receiver.peer === from);
    if (exact !== undefined) return exact;
    const host = hostOf(from);
    const sameHost = this.receivers.filter((receiver) => receiver.host === host);
    return sameHost.length === 1 ? sameHost[0] : undefined;
  }

  private acknowledge(receiver: Receiver, nowUs: number): void {
    receiver.state = "acknowledged";
    receiver.aheadPeriods = 0;
    this.passBarrier(nowUs);
  }

  /** Goes on when no receiver is waited for any more. */
  private passBarrier(nowUs: number): void {
    if (this.receivers.some((receiver) => receiver.state === "waiting")) return;
    if (this.receivers.every((receiver) => receiver.state === "failed") || this.state === "ending") {
      this.conclude();
      return;
    }
    this.offset += this.payloadBytes;
    if (this.offset - this.reportedBytes >= PROGRESS_BYTES || this.offset === this.source.sizeBytes) {
      this.reportedBytes = this.offset;
      this.outbox.emit({ type: "progress", doneBytes: this.offset, totalBytes: this.source.sizeBytes });
    }
    if (this.offset < this.source.sizeBytes) this.sendSegment(nowUs);
    else if (this.encoding.hasEnd) this.sendEnd(nowUs);
    else this.conclude();
  }

  private sendSegment(nowUs: number): void {
    try {
      const payload = this.source.read(this.offset, this.segmentBytes);
      if (this.offset + payload.length === this.source.sizeBytes) this.source.checkUnchanged();
      this.payloadBytes = payload.length;
      this.sequence++;
      this.packet = this.encoding.data(this.sequence, payload);
    } catch (error) {
      if (!(error instanceof GodwitError)) throw error;
      this.end({ result: "failed", error });
      return;
    }
    this.sendToAll(nowUs);
  }

  private sendEnd(nowUs: number): void {
    this.state = "ending";
    this.packet = this.encoding.end(0);
    this.sendToAll(nowUs);
  }

  private sendToAll(nowUs: number): void {
    for (const receiver of this.receivers) {
      if (receiver.state === "failed") continue;
      receiver.state = "waiting";
      receiver.sinceUs = nowUs;
      receiver.sends = 0;
      this.transmit(receiver, nowUs);
    }
  }

  private transmit(receiver: Receiver, nowUs: number): void {
    receiver.dueUs = nowUs + this.retryUs;
    receiver.sends++;
    receiver.isAhead = false;
    this.outbox.send(receiver.peer, this.packet);
  }

  nextTimeoutUs(): number | undefined {
    if (this.outcome !== undefined) return undefined;
    let dueUs = Infinity;
    for (const receiver of this.receivers)
      if (receiver.state === "waiting" && this.state !== "idle") dueUs = Math.min(dueUs, receiver.dueUs);
    return dueUs === Infinity ? undefined : dueUs;
  }

  handleTimeout(nowUs: number): void {
    if (this.outcome !== undefined || this.state === "idle") return;
    for (const receiver of this.receivers)
      if (receiver.state === "waiting" && receiver.dueUs <= nowUs) this.handleSilence(receiver, nowUs);
    this.passBarrier(nowUs);
  }

  private handleSilence(receiver: Receiver, nowUs: number): void {
    if (receiver.isAhead) receiver.aheadPeriods++;
    if (receiver.aheadPeriods >= AHEAD_PERIODS) {
      const text = `${receiver.peer} acknowledges later packets than were sent: it was not restarted after an earlier file; restart it`;
      this.giveUp(receiver, "PROTOCOL_VIOLATION", text);
      return;
    }
    if (this.state === "ending" && receiver.sends >= END_ATTEMPTS) {
      // It has acknowledged every byte; only its word that it saw the end is missing.
      receiver.state = "acknowledged";
      return;
    }
    if (nowUs - receiver.sinceUs >= this.giveUpUs) {
      const seconds = this.giveUpUs / 1_000_000;
      const text = receiver.everHeard
        ? `${receiver.peer} stopped answering for ${seconds} s after ${this.offset} of ${this.source.sizeBytes} bytes; restart it and send again`
        : `${receiver.peer} did not answer within ${seconds} s; is the receiver running?`;
      this.giveUp(receiver, receiver.everHeard ? "PEER_GONE" : "UNREACHABLE", text);
      return;
    }
    this.outbox.emit({
      type: "datagram-resent",
      line: `Timeout, sequence number = ${printedSequence(this.sequence)}`,
      peer: receiver.peer,
      sequence: this.sequence,
    });
    this.transmit(receiver, nowUs);
  }

  private giveUp(receiver: Receiver, code: ErrorCode, text: string): void {
    receiver.state = "failed";
    receiver.error = new GodwitError(code, text, { peer: receiver.peer });
    const { exit } = receiver.error;
    this.outbox.emit({ type: "receiver-failed", peer: receiver.peer, reason: text, facts: { exit } });
  }

  private conclude(): void {
    const failures = this.receivers.flatMap((receiver) =>
      receiver.error === undefined ? [] : [receiver.error],
    );
    for (const receiver of this.receivers)
      if (receiver.error === undefined)
        this.outbox.emit({
          type: "receiver-completed",
          peer: receiver.peer,
          doneBytes: this.source.sizeBytes,
        });
    if (failures.length === this.receivers.length && failures.length === 1)
      this.end({ result: "failed", error: failures[0] });
    else if (failures.length === this.receivers.length)
      this.end({
        result: "failed",
        error: new GodwitError(failures[0].code, `no receiver has the file: ${textOf(failures)}`),
      });
    else if (failures.length > 0)
      this.end({
        result: "failed",
        error: new GodwitError(
          "PARTIAL",
          `${failures.length} of ${this.receivers.length} receivers do not have the file: ${textOf(failures)}`,
        ),
      });
    else {
      const open = this.encoding.hasEnd ? this.receivers.filter((receiver) => !receiver.hasEnded) : [];
      const names = open.map((receiver) => receiver.peer).join(", ");
      this.end(
        open.length === 0
          ? { result: "complete" }
          : {
              result: "probably-complete",
              reason: `${names} acknowledged every byte and did not confirm the end of the file`,
            },
      );
    }
  }

  handleStop(): void {
    if (this.outcome !== undefined) return;
    const error = new GodwitError("INTERRUPTED", "interrupted; restart the receivers before sending again");
    this.end({ result: "failed", error });
  }

  private end(outcome: ClassicOutcome): void {
    this.source.close();
    this.outcome = outcome;
  }

  pollTransmit(nowUs: number): Transmit | undefined {
    if (this.state === "idle" && this.outcome === undefined) {
      this.state = "sending";
      if (this.source.sizeBytes === 0) this.sendEnd(nowUs);
      else this.sendSegment(nowUs);
    }
    return this.outbox.pollTransmit();
  }

  takeEvents(): readonly ClassicEvent[] {
    return this.outbox.takeEvents();
  }
}

function textOf(failures: readonly GodwitError[]): string {
  return failures.map((error) => error.message).join("; ");
}

/** The part of an address before the port. */
export function hostOf(peer: PeerAddress): string {
  return peer.slice(0, peer.lastIndexOf(":"));
}
