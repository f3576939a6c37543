/** The control stream: bytes cut into messages on one side, messages waiting for room on the other. */
import { ByteReader } from "../base/bytes.ts";
import { DecodeError } from "../base/errors.ts";
import { CONTROL_MESSAGE_BYTES } from "../base/limits.ts";
import type { ControlMessage } from "./messages.ts";
import { decodeMessage, encodeMessage } from "./messages.ts";

/** Cuts the control stream into messages. Holds at most one incomplete message. */
export class MessageDecoder {
  private pending = new Uint8Array(0);

  /**
   * Takes the next bytes of the stream and returns the messages they complete.
   *
   * @throws DecodeError for an invalid or too long message; the stream is useless after it.
   */
  handleBytes(bytes: Uint8Array): ControlMessage[] {
    let buffer = bytes;
    if (this.pending.length > 0) {
      buffer = new Uint8Array(this.pending.length + bytes.length);
      buffer.set(this.pending);
      buffer.set(bytes, this.pending.length);
    }
    const messages: ControlMessage[] = [];
    let at = 0;
    while (at < buffer.length) {
      const prefixBytes = 1 << (buffer[at] >>> 6);
      if (at + prefixBytes > buffer.length) break;
      const length = new ByteReader(buffer, at).varint();
      if (length > CONTROL_MESSAGE_BYTES) throw new DecodeError(`a control message of ${length} bytes`, at);
      const end = at + prefixBytes + length;
      if (end > buffer.length) break;
      messages.push(decodeMessage(buffer.subarray(at + prefixBytes, end)));
      at = end;
    }
    this.pending = buffer.slice(at);
    return messages;
  }
}

/** Messages waiting for room on the control stream. */
export class MessageQueue {
  private waiting: Uint8Array[] = [];
  private head = 0;
  private headAt = 0;
  private bytes = 0;

  /** Bytes waiting. */
  get sizeBytes(): number {
    return this.bytes;
  }

  /** Appends a message. */
  add(message: ControlMessage): void {
    const encoded = encodeMessage(message);
    this.waiting.push(encoded);
    this.bytes += encoded.length;
  }

  /** The next bytes of the stream, at most `maxBytes`; empty if nothing waits. */
  take(maxBytes: number): Uint8Array {
    const size = Math.min(maxBytes, this.bytes);
    const taken = new Uint8Array(size);
    let at = 0;
    while (at < size) {
      const first = this.waiting[this.head];
      const part = first.subarray(this.headAt, this.headAt + size - at);
      taken.set(part, at);
      at += part.length;
      this.headAt += part.length;
      if (this.headAt === first.length) {
        this.head++;
        this.headAt = 0;
      }
    }
    if (this.head > 0 && this.head * 2 >= this.waiting.length) {
      this.waiting = this.waiting.slice(this.head);
      this.head = 0;
    }
    this.bytes -= size;
    return taken;
  }
}
