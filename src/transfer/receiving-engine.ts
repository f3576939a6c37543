/** What a session needs of whoever receives: files on a disk, or a stream of the host's. */
import type { ErrorCode, GodwitError } from "../base/errors.ts";
import type { PieceRun } from "../transport/objects.ts";
import type { ControlMessage } from "./messages.ts";
import type { Tally } from "./tally.ts";

/** A receiver as its session sees it. */
export interface ReceivingEngine {
  readonly tally: Tally;
  /** All entries have an answer and the result was sent. */
  readonly hasSentResult: boolean;
  /** The sender will send no more. */
  readonly isFinished: boolean;
  /** A failure that ends the whole transfer. */
  readonly fatal: GodwitError | undefined;
  /** Bytes offered so far. */
  readonly totalBytes: number;
  /** Entries offered so far that are files. */
  readonly totalFiles: number;
  /** Whether everything was offered. */
  readonly isTotalKnown: boolean;
  /** Bytes verified, those of earlier runs included. */
  readonly progressBytes: number;
  /** Verified bytes in memory that wait for the disk, or for whoever reads them. */
  readonly unwrittenBytes: number;
  /** Takes a message of the sender. @throws GodwitError PROTOCOL_VIOLATION */
  handleMessage(message: ControlMessage): void;
  /** As in `ObjectSink`. */
  handlePiece(object: number, offset: number, bytes: Uint8Array, from: number, lengthBytes: number): number;
  handlePieces(run: PieceRun): number;
  /** Bytes that need no memory any more, since the last call. */
  takeConsumedBytes(): number;
  /** The connection ended in order after the result: the sender has it. */
  isResultKnown: boolean;
  /** Stops receiving. */
  stop(code: ErrorCode | undefined): void;
  /** Whether stopping still needs the disk. */
  readonly isStopping: boolean;
  /** Goes on with stopping; called when no operation is running. */
  continueStop(): void;
}
