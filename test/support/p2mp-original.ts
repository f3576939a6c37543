/**
 * Stand-ins for the original point-to-multipoint programs, written from the description of how they
 * react, defects included. They are not the originals; recordings of those are in test/vectors/classic/.
 */
import { GodwitError } from "../../src/base/errors.ts";
import type {
  ClassicEvent,
  ClassicMachine,
  ClassicOutcome,
  PeerAddress,
  Transmit,
} from "../../src/classic/machine.ts";

const DATA = "0101010101010101";
const ACK = "1010101010101010";
const bits = (value: number, width: number): string => value.toString(2).padStart(width, "0");

/** Checksum over characters, sixteen at a time, as the original counts; a rest of fewer is left out. */
function checksum(text: string): number {
  let sum = 0;
  for (let at = 0; at + 16 <= text.length; at += 16) {
    sum += Number.parseInt(text.slice(at, at + 16), 2);
    sum = (sum & 0xffff) + (sum >>> 16);
  }
  return ~sum & 0xffff;
}

function packet(sequence: number, type: string, payload: string): string {
  const number = bits(sequence, 32);
  return number + bits(checksum(number + type + payload), 16) + type + payload;
}

abstract class StandIn implements ClassicMachine {
  outcome: ClassicOutcome | undefined;
  protected readonly queue: Transmit[] = [];
  abstract handleDatagram(bytes: Uint8Array, from: PeerAddress, nowUs: number): void;

  handleTimeout(_nowUs: number): void {
    // Nothing is due unless a subclass says so.
  }

  nextTimeoutUs(): number | undefined {
    return undefined;
  }

  handleStop(): void {
    this.outcome ??= { result: "failed", error: new GodwitError("INTERRUPTED", "stopped") };
  }

  pollTransmit(_nowUs?: number): Transmit | undefined {
    return this.queue.shift();
  }

  takeEvents(): readonly ClassicEvent[] {
    return [];
  }
}

/** The original server: appends in order, acknowledges the last packet in order, never ends. */
export class OriginalP2mpServer extends StandIn {
  readonly chunks: number[] = [];
  private last = 0;

  handleDatagram(bytes: Uint8Array, from: PeerAddress): void {
    const text = Buffer.from(bytes).toString("latin1");
    const sequence = Number.parseInt(text.slice(0, 32), 2);
    // The sum over the message with its checksum must be all ones.
    if (checksum(text.slice(0, 32) + text.slice(48)) !== Number.parseInt(text.slice(32, 48), 2)) return;
    if (sequence === this.last + 1) {
      this.last = sequence;
      for (let at = 64; at + 8 <= text.length; at += 8)
        this.chunks.push(Number.parseInt(text.slice(at, at + 8), 2));
    }
    this.queue.push({ to: from, bytes: Buffer.from(packet(this.last, ACK, "")) });
  }
}

/** The original client's conversation with one receiver: a wrong acknowledgement is answered at once. */
export class OriginalP2mpClient extends StandIn {
  private readonly server: PeerAddress;
  private readonly chunks: readonly string[];
  private index = -1;
  private dueUs = 0;

  constructor(server: PeerAddress, content: Uint8Array, segmentBytes: number) {
    super();
    this.server = server;
    this.chunks = Array.from({ length: Math.ceil(content.length / segmentBytes) }, (_, i) =>
      Array.from(content.subarray(i * segmentBytes, (i + 1) * segmentBytes), (byte) => bits(byte, 8)).join(
        "",
      ),
    );
  }

  private say(nowUs: number): void {
    this.dueUs = nowUs + 100_000;
    this.queue.push({
      to: this.server,
      bytes: Buffer.from(packet(this.index + 1, DATA, this.chunks[this.index])),
    });
  }

  private next(nowUs: number): void {
    this.index++;
    if (this.index === this.chunks.length) this.outcome = { result: "complete" };
    else this.say(nowUs);
  }

  override pollTransmit(nowUs = 0): Transmit | undefined {
    if (this.index < 0) this.next(nowUs);
    return super.pollTransmit();
  }

  handleDatagram(bytes: Uint8Array, _from: PeerAddress, nowUs: number): void {
    const sequence = Number.parseInt(Buffer.from(bytes).toString("latin1").slice(0, 32), 2);
    if (sequence === this.index + 1) this.next(nowUs);
    else this.say(nowUs);
  }

  override handleTimeout(nowUs: number): void {
    if (nowUs >= this.dueUs) this.say(nowUs);
  }

  override nextTimeoutUs(): number | undefined {
    return this.dueUs;
  }
}
