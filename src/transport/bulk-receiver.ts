/**
 * The packets that most of a transfer consists of: in order, with one piece of file data that reaches to the
 * end of the packet. They are handed on as runs, with the same outcome as `PacketReceiver` has one by one.
 * docs/design/hot-path.md
 */
import { sameAddress } from "../wire/address.ts";
import { ECN, type PacketBatch } from "../wire/batch.ts";
import { FRAME } from "../wire/frames.ts";
import type { FrameReader } from "../wire/frame-reader.ts";
import { SHORT_HEADER_BYTES } from "../wire/header.ts";
import { TAG_BYTES } from "./crypto.ts";
import { PieceRun } from "./objects.ts";
import type { Session } from "./session.ts";

/** Receives runs of such packets for one connection. */
export class BulkReceiver {
  private readonly session: Session;
  private readonly reader: FrameReader;
  private readonly run = new PieceRun();
  /** Of the packets handled last: their bytes, those of their pieces, and how many of these were new. */
  handledBytes = 0;
  pieceBytes = 0;
  newBytes = 0;

  constructor(session: Session, reader: FrameReader) {
    this.session = session;
    this.reader = reader;
  }

  /**
   * Handles the opened packets from `from` on, below `to`, as long as they are such ones, and returns how many
   * those were.
   *
   * @throws GodwitError when the peer breaks the protocol; the connection closes with it.
   */
  handle(batch: PacketBatch, from: number, to: number, nowUs: number): number {
    this.handledBytes = 0;
    this.pieceBytes = 0;
    this.newBytes = 0;
    const { run, session } = this;
    const { closing, events, sink } = session;
    if (sink?.handlePieces === undefined || events.wantsPackets) return 0;
    let at = from;
    for (;;) {
      const count = closing.state === "open" ? this.collect(batch, at, to) : 0;
      if (count === 0) return at - from;
      let sizeBytes = 0;
      for (let i = at; i < at + count; i++) sizeBytes += batch.lengths[i];
      session.liveness.handleReceived(nowUs);
      const newBytes = sink.handlePieces(run, nowUs);
      session.window.handleReceived(newBytes);
      session.tracker.handleReceivedRun(count, batch.ecn[at], nowUs);
      session.paths.handleReceived(batch.addresses, at, sizeBytes, true, nowUs);
      this.handledBytes += sizeBytes;
      this.pieceBytes += run.lengthBytes;
      this.newBytes += newBytes;
      at += count;
    }
  }

  /** Collects the pieces of packets from `from` on that belong together; returns how many. */
  private collect(batch: PacketBatch, from: number, to: number): number {
    const { run, reader, session } = this;
    const { bytes, offsets, lengths } = batch;
    const first = session.tracker.largestReceived + 1 - from;
    run.clear();
    run.copyPieces = batch.copyPieces;
    let i = from;
    while (i < to && batch.opened[i] === 1 && batch.packetNumbers[i] === first + i) {
      const start = offsets[i] + SHORT_HEADER_BYTES;
      if (bytes[start] !== FRAME.dataToEnd || batch.ecn[i] !== batch.ecn[from]) break;
      // Packets with something to tell at once, and those from elsewhere, are looked at one by one.
      if (batch.ecn[i] === ECN.ce || !sameAddress(batch.addresses, i, session.paths.current, 0)) break;
      reader.reset(bytes, start, offsets[i] + lengths[i] - TAG_BYTES);
      reader.next();
      if (!run.continues(reader.object, reader.offset)) break;
      run.add(reader.object, reader.offset, bytes, reader.dataStart, reader.dataLength);
      i++;
    }
    return i - from;
  }
}
