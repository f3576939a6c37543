/** One file that was offered to one receiver: what it has, what was read for it, what is to be read again. */
import type { ErrorCode } from "../base/errors.ts";
import { RangeSet } from "../base/range-set.ts";
import type { Hash } from "../files/hash-tree.ts";
import { HashForest } from "../files/hash-tree.ts";
import type { LoadedChunk, SourceFile, SupplyUser } from "./chunk-supply.ts";
import type { EntryMessage } from "./entry-message.ts";
import type { AcceptMode } from "./messages.ts";
import type { Offer } from "./offers.ts";
import type { OutgoingChunk } from "./piece-queue.ts";

/** Told what the supply has for a file. */
export interface OutgoingFileOwner {
  /** A chunk that was requested for `file` is in memory. */
  handleChunk(file: OutgoingFile, chunk: LoadedChunk): void;
  /** The pipe of `file` has ended. */
  handleSourceEnded(file: OutgoingFile, source: SourceFile): void;
  /** The source of `file` cannot be sent. */
  failFile(file: OutgoingFile, code: ErrorCode, text: string): void;
}

/** What became of an offered entry. */
export type OutgoingState = "offered" | "queued" | "reading" | "checking" | "rooted" | "failed";

/** One offered file. */
export class OutgoingFile implements SupplyUser {
  readonly entry: EntryMessage;
  readonly source: SourceFile | undefined;
  private readonly lane: OutgoingFileOwner;
  state: OutgoingState = "offered";
  mode: AcceptMode = "data";
  /** Chunks the receiver has. */
  readonly have = new RangeSet();
  readonly forest: HashForest;
  /** First chunk that was not requested yet. */
  nextChunk = 0;
  /** Chunks requested for the first time and not there yet. */
  chunksAwaited = 0;
  /** Chunks in the order they were requested, up to the first that is not there yet. */
  readonly requestOrder: number[] = [];
  /** Chunks that are there before an earlier one. */
  readonly loadedAhead = new Map<number, LoadedChunk>();
  /** Chunks asked of the supply and not there yet. */
  readonly requested = new Set<number>();
  /** Chunks to be read and sent again, because the receiver asked. */
  readonly again = new RangeSet();
  /** Chunks that lost pieces while their memory was lent to others. */
  readonly reloads = new Set<number>();
  /** Chunks to send again once their first copy was acknowledged whole. */
  readonly againWhenAcked = new Set<number>();
  /** Chunks being read for a second time: lost pieces or a refetch. */
  readonly rereading = new Map<number, OutgoingChunk | "refetch">();
  root: Uint8Array | undefined;
  usesSource = false;
  /** With dealing: the chunks that this lane sends. Absent: it sends all. */
  own: RangeSet | undefined;

  constructor(lane: OutgoingFileOwner, offer: Offer, hash: Hash) {
    this.lane = lane;
    this.entry = offer.entry;
    this.source = offer.source;
    this.forest = new HashForest(hash);
  }

  handleChunk(chunk: LoadedChunk): void {
    this.lane.handleChunk(this, chunk);
  }

  handleSourceEnded(source: SourceFile): void {
    this.lane.handleSourceEnded(this, source);
  }

  handleSourceFailed(_source: SourceFile, code: ErrorCode, text: string): void {
    this.lane.failFile(this, code, text);
  }
}
