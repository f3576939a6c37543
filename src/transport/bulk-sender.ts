/**
 * The packets that most of a transfer consists of: full ones that carry nothing but new file data. They are
 * written in one loop, as `PacketSender` and `PacketBuilder` would write them one by one, without asking
 * everybody again for each. docs/design/hot-path.md
 */
import { ECN, type PacketBatch } from "../wire/batch.ts";
import { dataToEndHeaderBytes, writeDataToEndHeader } from "../wire/frames.ts";
import { SHORT_HEADER_BYTES, writeShortHeader } from "../wire/header.ts";
import { TAG_BYTES } from "./crypto.ts";
import type { ObjectPiece } from "./objects.ts";
import { SENT } from "./sent-frames.ts";
import type { Session } from "./session.ts";

/** Sends runs of such packets for one connection. */
export class BulkSender {
  private readonly session: Session;
  private readonly piece: ObjectPiece = {
    object: 0,
    offset: 0,
    availableBytes: 0,
    isRetransmission: false,
    lender: undefined,
    lentFrom: 0,
  };

  constructor(session: Session) {
    this.session = session;
  }

  /**
   * Appends packets to the batch, unsealed, numbered from `first` on and below `end`, as far as window,
   * pacing, flow control, the piece that is next and the batch's room allow. Returns the number behind the
   * last one: `first` when something else is to be sent, which these packets would have to carry, too.
   */
  send(batch: PacketBatch, first: number, end: number, nowUs: number): number {
    const { session, piece } = this;
    const { source, credit, recovery, sentFrames, paths } = session;
    if (source === undefined || !this.isAlone() || !source.peekPiece(piece, credit.availableBytes <= 0))
      return first;
    const { object, offset, lender } = piece;
    if (piece.isRetransmission || lender === undefined) return first;
    const size = session.datagramSize.bytes;
    const roomBytes = size - SHORT_HEADER_BYTES - TAG_BYTES;
    const lentFrom = piece.lentFrom ?? 0;
    const mostBytes = Math.min(piece.availableBytes, credit.availableBytes);
    const connectionId = session.remoteIds.current;
    const { phase } = session.keys;
    let number = first;
    let taken = 0;
    while (
      number < end &&
      batch.hasRoom(size) &&
      recovery.canSend(size) &&
      recovery.nextSendTimeUs(nowUs) <= nowUs
    ) {
      const at = offset + taken;
      const length = roomBytes - dataToEndHeaderBytes(object, at);
      if (taken + length > mostBytes) break;
      const start = batch.usedBytes;
      const ecn = recovery.ecnCodepoint;
      writeShortHeader(batch.bytes, start, connectionId, phase, number);
      const dataAt = writeDataToEndHeader(batch.bytes, start + SHORT_HEADER_BYTES, object, at);
      const index = batch.push(size, paths.current, 0);
      batch.packetNumbers[index] = number;
      batch.ecn[index] = ecn;
      batch.borrow(index, dataAt, length, lender, lentFrom + taken);
      sentFrames.begin(number);
      sentFrames.add(SENT.data, object, at, length);
      recovery.handleSent(number, size, nowUs, true, false, ecn !== ECN.notEct);
      taken += length;
      number++;
    }
    if (taken === 0) return first;
    source.takePiece(piece, taken, undefined, 0);
    credit.use(taken);
    session.liveness.handleSent(nowUs);
    return number;
  }

  /** Whether file data is all there is to send, and nobody wants to hear of single packets. */
  private isAlone(): boolean {
    const { control, streams, tracker, events } = this.session;
    return control.isEmpty && !streams.hasSendable && !tracker.hasNews && !events.wantsPackets;
  }
}
