/**
 * The original client and server of system 001 as models, from their recorded behaviour
 * (docs/classic/tcplike.md, "What the originals do"): every defect that can lose data is here.
 */
import { GodwitError } from "../../src/base/errors.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { Outbox } from "../../src/classic/machine.ts";
import type { ClassicMachine, ClassicOutcome, PeerAddress, Transmit } from "../../src/classic/machine.ts";
import { readTcplikeHeader, tcplikePacket } from "../../src/classic/tcplike/tcplike-wire.ts";

/** Repetitions of one packet until Python's recursion limit ends the original client. */
const RESENDS_MAX = 490;

const crash = (text: string): ClassicOutcome => ({
  result: "failed",
  error: new GodwitError("INTERNAL", text),
});

abstract class Model implements ClassicMachine {
  protected readonly outbox = new Outbox();
  protected deadlineUs: number | undefined;
  outcome: ClassicOutcome | undefined;
  abstract handleDatagram(bytes: Uint8Array, from: PeerAddress, nowUs: number): void;
  abstract handleTimeout(nowUs: number): void;
  handleStop(): void {
    this.outcome = crash("stopped");
  }
  pollTransmit(): Transmit | undefined {
    return this.outbox.pollTransmit();
  }
  nextTimeoutUs(): number | undefined {
    return this.deadlineUs;
  }
  takeEvents(): readonly [] {
    return [];
  }
}

/** The original server: acknowledges everything, stores only what fits its count, ends after 2 s of silence. */
export class OriginalTcplikeServer extends Model {
  private text = "";
  private sequence = 42;
  private connectionId = 0;
  private previousFlags = 0;
  private flags = 0;
  private previousSize = 1;
  private previousSequence = 0;
  private hasSyn = false;
  private isFinning = false;
  private readonly random: SeededRandom;

  constructor(seed: number, nowUs: number) {
    super();
    this.random = new SeededRandom(seed, "original-server");
    this.deadlineUs = nowUs + 2_000_000;
  }

  /** What it printed. */
  get output(): Uint8Array {
    return Buffer.from(this.text, "utf8");
  }

  handleDatagram(bytes: Uint8Array, from: PeerAddress, nowUs: number): void {
    const header = readTcplikeHeader(bytes);
    if (header === undefined || bytes.length < 524) {
      this.outcome = crash("struct.error");
      return;
    }
    this.deadlineUs = nowUs + 2_000_000;
    this.previousFlags = this.flags;
    let payload: string;
    try {
      payload = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
        .decode(bytes.subarray(12, 524))
        .replace(/\0+$/, "");
    } catch {
      this.outcome = crash("UnicodeDecodeError");
      return;
    }
    this.flags = header.flags;
    if (this.previousFlags === 1 && this.flags === 5) {
      this.outcome = { result: "complete" };
      return;
    }
    if (this.flags === 2) {
      if (this.hasSyn) this.sequence--;
      this.connectionId = this.random.integer(1, 20);
      this.previousSize = 1;
      this.hasSyn = true;
    }
    if (this.flags === 1) {
      const ack = this.sequence + this.previousSize;
      this.previousSequence = this.sequence;
      this.isFinning = true;
      this.reply(from, this.sequence, ack, 5);
      this.reply(from, this.sequence, 0, 1);
      return;
    }
    if ((this.flags === 4 || this.flags === 0) && header.connectionId === this.connectionId) {
      if (header.sequence === this.sequence) this.text += payload;
      else if (header.sequence === this.previousSequence) this.sequence = this.previousSequence;
      this.previousSize = Array.from(payload).length;
    }
    this.previousSequence = this.sequence;
    if (this.isFinning) return;
    let ack = this.sequence + this.previousSize;
    if (ack >= 204_800) ack -= 204_800;
    this.reply(from, this.sequence, ack, this.flags === 2 ? 6 : 4);
    this.sequence = ack;
  }

  handleTimeout(): void {
    // "File received, exiting." with status 0, whatever is missing.
    this.outcome = { result: "complete" };
  }

  private reply(to: PeerAddress, sequence: number, acknowledgement: number, flags: number): void {
    const { connectionId } = this;
    this.outbox.send(to, tcplikePacket({ sequence, acknowledgement, connectionId, flags }, 12));
  }
}

/** The original client: repeats at once on any reply it did not expect, until Python's recursion limit. */
export class OriginalTcplikeClient extends Model {
  private readonly server: PeerAddress;
  private readonly characters: readonly string[];
  private at = 0;
  private sequence = 42;
  private connectionId = 0;
  private expected = 43;
  private phase: "syn" | "first" | "data" | "fin" | "closing" = "syn";
  private packet: Uint8Array = new Uint8Array(0);
  private resends = 0;
  private closings = 0;

  constructor(server: PeerAddress, text: string, nowUs: number) {
    super();
    this.server = server;
    this.characters = Array.from(text);
    this.send(2, "", nowUs);
  }

  handleDatagram(bytes: Uint8Array, _from: PeerAddress, nowUs: number): void {
    const header = readTcplikeHeader(bytes);
    if (header === undefined || bytes.length !== 12) {
      this.outcome = crash("struct.error");
      return;
    }
    if (this.phase === "closing") this.close(nowUs);
    else if (this.phase === "fin") {
      this.phase = "closing";
      this.deadlineUs = nowUs + 2_000_000;
    } else if (this.phase === "syn") {
      this.connectionId = header.connectionId;
      if (header.flags !== 6 || header.acknowledgement !== 43) this.resend(nowUs);
      else {
        this.sequence = 43;
        this.phase = "first";
        this.sendText(nowUs);
      }
    } else if (
      header.flags !== 4 ||
      header.connectionId !== this.connectionId ||
      header.acknowledgement !== this.expected
    )
      this.resend(nowUs);
    else {
      this.sequence = this.expected >= 204_800 ? this.expected - 204_800 : this.expected;
      this.phase = "data";
      if (this.at < this.characters.length) this.sendText(nowUs);
      else {
        this.phase = "fin";
        this.send(1, "", nowUs);
      }
    }
  }

  handleTimeout(nowUs: number): void {
    if (this.phase === "closing") this.close(nowUs);
    else this.resend(nowUs);
  }

  private close(nowUs: number): void {
    this.send(5, "", nowUs);
    this.deadlineUs = nowUs + 2_000_000;
    if (++this.closings === 3) this.outcome = { result: "complete" };
  }

  private sendText(nowUs: number): void {
    const text = this.characters.slice(this.at, this.at + 512).join("");
    this.at += 512;
    const isFirst = this.phase === "first";
    const count = isFirst ? Buffer.byteLength(text) : Array.from(text).length;
    this.expected = this.sequence + count;
    if (this.expected >= 204_801) this.expected -= 204_800;
    this.send(isFirst ? 4 : 0, text, nowUs);
  }

  private send(flags: number, text: string, nowUs: number): void {
    const { sequence, connectionId } = this;
    const acknowledgement = flags === 5 ? sequence + 1 : 0;
    // struct's 512s cuts what is longer.
    const payload = Buffer.from(text, "utf8").subarray(0, 512);
    this.packet = tcplikePacket({ sequence, acknowledgement, connectionId, flags }, 524, payload);
    this.resends = 0;
    this.outbox.send(this.server, this.packet);
    this.deadlineUs = nowUs + 500_000;
  }

  private resend(nowUs: number): void {
    if (++this.resends > RESENDS_MAX) {
      this.outcome = crash("RecursionError");
      return;
    }
    this.outbox.send(this.server, this.packet.slice());
    this.deadlineUs = nowUs + 500_000;
  }
}
