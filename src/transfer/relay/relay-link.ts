/**
 * One connection between two receivers of the same transfer, used both ways: what this side asked for
 * comes in and is put together chunk by chunk, what the other asked for is read and sent. A chunk comes
 * from one helper whole, so that it is known who lied.
 */
import type { ErrorCode } from "../../base/errors.ts";
import { GodwitError } from "../../base/errors.ts";
import {
  CHUNK_BYTES,
  REASSEMBLY_GAPS,
  RELAY_ASKS,
  RELAY_HAVE_RANGES,
  RELAY_RANGES,
} from "../../base/limits.ts";
import { RangeSet } from "../../base/range-set.ts";
import type { LoadedChunk } from "../chunk-supply.ts";
import { SourceFile } from "../chunk-supply.ts";
import type { MessageQueue } from "../control-stream.ts";
import type { IncomingFile } from "../incoming-file.ts";
import type { ControlMessage } from "../messages.ts";
import type { OutgoingChunk, PieceOwner } from "../piece-queue.ts";
import { PieceQueue } from "../piece-queue.ts";
import type { ChunkRanges } from "./relay-messages.ts";

/** A chunk that was asked for and is coming in. */
export interface AskedChunk {
  readonly file: IncomingFile;
  readonly index: number;
  readonly lengthBytes: number;
  /** Of the receiver's pool. */
  readonly bytes: Uint8Array;
  readonly received: RangeSet;
  readonly askedAtUs: number;
}

/** What a link needs of the session that carries it. */
export interface LinkCarrier {
  readonly messages: MessageQueue;
  /** Proven fingerprint of the other receiver. */
  readonly peerFingerprint: string;
  /** Ends the session. */
  end(code: ErrorCode | undefined, text: string): void;
}

/** Told about a link: the transfer it belongs to. */
export interface LinkOwner {
  /** All bytes of a chunk that was asked for are there; the link no longer holds its buffer. */
  handleComplete(link: RelayLink, chunk: AskedChunk): void;
  /** The helper cannot give a chunk. */
  handleCannot(link: RelayLink, chunk: AskedChunk): void;
  /** The helper has more, or something ended: there may be something to ask for. */
  handleChange(): void;
  /** The other receiver asked for a chunk. */
  handleAsk(link: RelayLink, object: number, index: number): void;
  /** A chunk that was served is there, or given up: its buffer is free. */
  handleServed(bytes: Uint8Array): void;
  /** Whether a disk is being read for others. */
  readonly isReading: boolean;
  /** The connection is over. */
  handleLinkOver(link: RelayLink): void;
}

/** What one other receiver says it has. */
class Possessions {
  private readonly sets = new Map<number, RangeSet>();
  private rangeCount = 0;

  of(object: number): RangeSet | undefined {
    return this.sets.get(object);
  }

  add(object: number, ranges: ChunkRanges): void {
    let set = this.sets.get(object);
    for (const [start, end] of ranges) {
      // One more range and one more set at most: counted before they are made.
      if (this.rangeCount >= RELAY_HAVE_RANGES) return;
      if (set === undefined) this.sets.set(object, (set = new RangeSet()));
      const before = set.rangeCount;
      set.add(start, end);
      this.rangeCount += set.rangeCount - before;
    }
  }

  remove(object: number): void {
    this.rangeCount -= this.sets.get(object)?.rangeCount ?? 0;
    this.sets.delete(object);
  }
}

/** One link. */
export class RelayLink implements PieceOwner {
  readonly pieces: PieceQueue;
  /** What the sender calls the other receiver. */
  readonly partner: number;
  readonly has = new Possessions();
  readonly asked: AskedChunk[] = [];
  /** The other receiver will ask for nothing more. */
  isPeerDone = false;
  isOver = false;
  /** Last time that bytes came which were asked for, or that the first chunk was asked for. */
  progressAtUs = 0;
  /** Last time that the other receiver asked for something. */
  askAtUs: number;
  /** Bytes sent to the other receiver. */
  servedBytes = 0;
  private readonly owner: LinkOwner;
  private readonly carrier: LinkCarrier;
  private readonly serving = new Set<string>();
  private consumed = 0;

  constructor(owner: LinkOwner, carrier: LinkCarrier, partner: number, nowUs: number) {
    this.pieces = new PieceQueue(this);
    this.owner = owner;
    this.carrier = carrier;
    this.partner = partner;
    this.askAtUs = nowUs;
  }

  /** Proven fingerprint of the other receiver. */
  get peerFingerprint(): string {
    return this.carrier.peerFingerprint;
  }

  // What is asked for

  /** Asks for a chunk; it is put together in `bytes`. */
  ask(file: IncomingFile, index: number, lengthBytes: number, bytes: Uint8Array, nowUs: number): void {
    if (this.asked.length === 0) this.progressAtUs = nowUs;
    this.asked.push({ file, index, lengthBytes, bytes, received: new RangeSet(), askedAtUs: nowUs });
    this.carrier.messages.add({ type: "relay-ask", object: file.object, chunk: index });
  }

  /** Forgets what was asked of a file, or everything; returns it, so that its buffers are given back. */
  forget(file?: IncomingFile): AskedChunk[] {
    const forgotten = this.asked.filter((chunk) => file === undefined || chunk.file === file);
    for (const chunk of forgotten) {
      this.asked.splice(this.asked.indexOf(chunk), 1);
      this.consumed += chunk.received.size;
    }
    return forgotten;
  }

  /** As in `ObjectSink`. What was not asked for, or is complete, counts nothing. */
  handlePiece(
    object: number,
    offset: number,
    bytes: Uint8Array,
    from: number,
    lengthBytes: number,
    nowUs: number,
  ): number {
    const index = Math.floor(offset / CHUNK_BYTES);
    const chunk = this.find(object, index);
    if (chunk === undefined) return 0;
    const start = offset - index * CHUNK_BYTES;
    const { received } = chunk;
    if (start + lengthBytes > chunk.lengthBytes) throw violation("file data beyond the end of a chunk");
    const added = received.add(start, start + lengthBytes);
    if (added === 0) return 0;
    if (received.rangeCount > REASSEMBLY_GAPS)
      throw new GodwitError("OVER_LIMIT", `a helper left more than ${REASSEMBLY_GAPS} gaps in one chunk`);
    chunk.bytes.set(bytes.subarray(from, from + lengthBytes), start);
    this.progressAtUs = nowUs;
    if (received.size === chunk.lengthBytes) {
      this.asked.splice(this.asked.indexOf(chunk), 1);
      this.consumed += chunk.lengthBytes;
      this.owner.handleComplete(this, chunk);
    }
    return added;
  }

  /** As in `ReceivingEngine`. */
  takeConsumedBytes(): number {
    const { consumed } = this;
    this.consumed = 0;
    return consumed;
  }

  // What is served

  /** Tells the other receiver what is here. */
  announce(object: number, ranges: ChunkRanges): void {
    for (let at = 0; at < ranges.length; at += RELAY_RANGES)
      this.carrier.messages.add({ type: "relay-have", object, ranges: ranges.slice(at, at + RELAY_RANGES) });
  }

  /** Sends a chunk that was asked for. */
  serve(object: number, index: number, lengthBytes: number, bytes: Uint8Array): void {
    const { pieces } = this;
    this.servedBytes += lengthBytes;
    this.serving.delete(`${object}:${index}`);
    if (this.isOver || pieces.find(object, index) !== undefined) {
      this.owner.handleServed(bytes);
      return;
    }
    const loaded: LoadedChunk = { source: NO_SOURCE, index, lengthBytes, bytes, contentHash: NO_BYTES };
    pieces.add(object, loaded);
    this.sent.add(object);
  }

  /** Objects with chunks on their way. */
  private readonly sent = new Set<number>();

  /** Says that a chunk that was asked for cannot be sent. */
  decline(object: number, index: number): void {
    this.serving.delete(`${object}:${index}`);
    if (!this.isOver) this.carrier.messages.add({ type: "relay-cannot", object, chunk: index });
  }

  /** Says that nothing more will be asked. */
  sayDone(): void {
    this.carrier.messages.add({ type: "relay-done" });
  }

  get isReading(): boolean {
    return this.owner.isReading;
  }

  handleChunkSent(): void {
    // Reading ahead is what the other side asks for.
  }

  handleChunkAcked(chunk: OutgoingChunk): void {
    if (chunk.loaded !== undefined) this.owner.handleServed(chunk.loaded.bytes);
  }

  handleReloadNeeded(): void {
    // Chunks stay in memory until they are acknowledged.
  }

  // Messages and the end

  /** Takes a message of the other receiver. @throws GodwitError PROTOCOL_VIOLATION */
  handleMessage(message: ControlMessage, nowUs: number): void {
    switch (message.type) {
      case "relay-have":
        this.has.add(message.object, message.ranges);
        this.owner.handleChange();
        break;
      case "relay-ask": {
        const key = `${message.object}:${message.chunk}`;
        if (this.serving.size >= RELAY_ASKS || this.serving.has(key))
          throw violation("more chunks asked for than may be");
        this.serving.add(key);
        this.askAtUs = nowUs;
        this.owner.handleAsk(this, message.object, message.chunk);
        break;
      }
      case "relay-cannot": {
        const chunk = this.find(message.object, message.chunk);
        if (chunk === undefined) break;
        this.asked.splice(this.asked.indexOf(chunk), 1);
        this.consumed += chunk.received.size;
        this.owner.handleCannot(this, chunk);
        break;
      }
      case "relay-done":
        this.isPeerDone = true;
        this.owner.handleChange();
        break;
      default:
        throw violation(`a ${message.type} message between receivers`);
    }
  }

  /** Ends the connection. */
  close(code: ErrorCode | undefined, text: string): void {
    this.carrier.end(code, text);
  }

  /** The session ended. */
  stop(): void {
    if (this.isOver) return;
    this.isOver = true;
    for (const object of this.sent)
      for (const { bytes } of this.pieces.removeObject(object)) this.owner.handleServed(bytes);
    this.owner.handleLinkOver(this);
  }

  private find(object: number, index: number): AskedChunk | undefined {
    // Three at most.
    for (const chunk of this.asked) if (chunk.index === index && chunk.file.object === object) return chunk;
    return undefined;
  }
}

const NO_BYTES = new Uint8Array(0);
/** Served chunks are not read again: they have no source. */
const NO_SOURCE = new SourceFile(undefined, "");

function violation(what: string): GodwitError {
  return new GodwitError("PROTOCOL_VIOLATION", `another receiver broke the protocol: ${what}`);
}
