/** Chunks that come in: verified, handed on to the disk, asked for again when they are bad. */
import type { ErrorCode } from "../base/errors.ts";
import { GodwitError } from "../base/errors.ts";
import { CHUNK_BYTES, ENTRIES_AHEAD, REFETCH_RANGES } from "../base/limits.ts";
import type { EventQueue } from "../events/queue.ts";
import type { Hash } from "../files/hash-tree.ts";
import { printable } from "../files/printable.ts";
import type { IncomingFile, VerifiedChunk } from "./incoming-file.ts";
import type { MessageQueue } from "./control-stream.ts";
import type { FileOutput } from "./staging-output.ts";

/** What the intake needs of its receiver. */
export interface IntakeSetup {
  readonly hash: Hash;
  readonly messages: MessageQueue;
  readonly events: EventQueue;
  readonly output: FileOutput;
  /** A file is given up. */
  readonly onRefused: (file: IncomingFile, code: ErrorCode, text: string) => void;
  /** All chunks of a file may be there. */
  readonly onWritten: (file: IncomingFile) => void;
}

/** The chunks of one transfer. */
export class ChunkIntake {
  private readonly setup: IntakeSetup;
  private consumed = 0;
  /** Bytes verified in this run. */
  verifiedBytes = 0;
  /** Verified bytes in memory that wait for the disk. */
  unwrittenBytes = 0;
  private readonly zeroHashes = new Map<number, Uint8Array>();

  constructor(setup: IntakeSetup) {
    this.setup = setup;
  }

  /** Bytes received that need no more memory, since the last call: the transport may let as many in. */
  takeConsumedBytes(): number {
    const written = this.setup.output.takeConsumedBytes();
    this.unwrittenBytes -= written;
    const consumed = this.consumed + written;
    this.consumed = 0;
    return consumed;
  }

  /** Verifies a chunk if all of it is there, and hands it on to the disk. */
  verify(file: IncomingFile, index: number): void {
    if (file.state !== "receiving") return;
    let isBad = false;
    try {
      const chunk = file.verifyChunk(index, () => (isBad = true));
      if (chunk !== undefined) this.take(file, chunk);
    } catch (error) {
      if (!(error instanceof GodwitError)) throw error;
      this.consumed += chunkBytes(file, index);
      this.setup.onRefused(file, error.code, `${printable(file.entry.path)}: ${error.message}`);
      return;
    }
    if (!isBad) return;
    this.consumed += chunkBytes(file, index);
    this.refetch(file, [index], "the chunk did not match its hash");
  }

  /** Hands a verified chunk on to the disk. */
  take(file: IncomingFile, chunk: VerifiedChunk): void {
    const { index, lengthBytes, windowBytes } = chunk;
    this.verifiedBytes += lengthBytes;
    const { path } = file.entry;
    this.setup.events.add({ type: "chunk-verified", path, offset: index * CHUNK_BYTES, lengthBytes });
    this.unwrittenBytes += windowBytes;
    this.setup.output.add(file, chunk);
  }

  /** Takes chunks of zeros that are named instead of sent. @throws GodwitError PROTOCOL_VIOLATION */
  handleZeros(file: IncomingFile, firstChunk: number, count: number): void {
    if (!file.isSparse) throw violation("chunks of zeros that were not asked for");
    if (file.resumed !== undefined) {
      // The staging file of an earlier run may hold anything there: zeros have to be written.
      this.setup.messages.add({
        type: "refetch",
        object: file.object,
        ranges: [[firstChunk, firstChunk + count]],
      });
      return;
    }
    this.verifiedBytes += file.addZeros(firstChunk, count, (lengthBytes) => this.hashOfZeros(lengthBytes));
    this.setup.onWritten(file);
  }

  private hashOfZeros(lengthBytes: number): Uint8Array {
    let known = this.zeroHashes.get(lengthBytes);
    if (known === undefined) {
      known = this.setup.hash(new Uint8Array(lengthBytes));
      // One for whole chunks and one for the last of each open file.
      if (this.zeroHashes.size > ENTRIES_AHEAD) this.zeroHashes.clear();
      this.zeroHashes.set(lengthBytes, known);
    }
    return known;
  }

  /** Chunks of an earlier run are not on the disk as they should be: they come again. */
  handleDamaged(
    file: IncomingFile,
    chunks: readonly { readonly index: number; readonly contentHash: Uint8Array }[],
  ): void {
    for (const { index, contentHash } of chunks) file.distrust(index, contentHash);
    this.refetch(
      file,
      chunks.map(({ index }) => index),
      "the chunk on disk is not what was verified",
    );
  }

  /** Throws away what came of chunks that are not complete. */
  discardOpen(file: IncomingFile): void {
    this.consumed += file.discardOpen();
  }

  private refetch(file: IncomingFile, indexes: readonly number[], reason: string): void {
    const ranges: [number, number][] = [];
    for (const index of indexes) {
      const last = ranges.at(-1);
      if (last !== undefined && last[1] === index) last[1]++;
      else ranges.push([index, index + 1]);
      this.setup.events.add({
        type: "chunk-refetched",
        path: file.entry.path,
        offset: index * CHUNK_BYTES,
        reason,
      });
    }
    for (let at = 0; at < ranges.length; at += REFETCH_RANGES)
      this.setup.messages.add({
        type: "refetch",
        object: file.object,
        ranges: ranges.slice(at, at + REFETCH_RANGES),
      });
  }
}

function chunkBytes(file: IncomingFile, index: number): number {
  return file.sizeBytes === undefined
    ? CHUNK_BYTES
    : Math.min(CHUNK_BYTES, file.sizeBytes - index * CHUNK_BYTES);
}

function violation(what: string): GodwitError {
  return new GodwitError("PROTOCOL_VIOLATION", `the sender broke the protocol: ${what}`);
}
