/**
 * What a sender believes has arrived, has: file data that was acknowledged to it reached the other
 * side's session before, with the bytes that were sent; and a chunk that a receiver calls verified
 * holds the bytes of the source file. Kept across kills and restarts, by the name of the session.
 */
import { RangeSet } from "../../base/range-set.ts";
import type { GodwitEvent } from "../../events/event.ts";
import type { ObjectPiece, ObjectSink, ObjectSource } from "../../transport/objects.ts";
import { CheckFailed } from "./checkers.ts";

/** One object of one session: what was sent, and which of it has arrived. */
class WatchedObject {
  bytes = new Uint8Array(4_096);
  readonly sent = new RangeSet();
  readonly arrived = new RangeSet();

  store(offset: number, piece: Uint8Array): void {
    const end = offset + piece.length;
    if (end > this.bytes.length) {
      const grown = new Uint8Array(Math.max(end, 2 * this.bytes.length));
      grown.set(this.bytes);
      this.bytes = grown;
    }
    this.bytes.set(piece, offset);
    this.sent.add(offset, end);
  }

  /** Whether these bytes were sent, and are the same as from `offset` on. */
  equals(offset: number, bytes: Uint8Array, from: number, lengthBytes: number): boolean {
    if (!this.sent.hasRange(offset, offset + lengthBytes)) return false;
    for (let i = 0; i < lengthBytes; i++) if (this.bytes[offset + i] !== bytes[from + i]) return false;
    return true;
  }
}

/** Both sides of one session. */
class WatchedSession {
  readonly objects = new Map<number, WatchedObject>();

  object(number: number): WatchedObject {
    let object = this.objects.get(number);
    if (object === undefined) this.objects.set(number, (object = new WatchedObject()));
    return object;
  }
}

/** Watches the file data of all sessions of one run. */
export class DeliveryWatch {
  private readonly sessions = new Map<string, WatchedSession>();
  /** Contents of the source files by name. */
  private readonly contents: ReadonlyMap<string, Uint8Array>;

  constructor(contents: ReadonlyMap<string, Uint8Array>) {
    this.contents = contents;
  }

  /** Watches one side of the session called `name`, before it sends or receives anything. */
  attach(name: string, side: ObjectSource & ObjectSink): void {
    const session = this.session(name);
    const takePiece = side.takePiece.bind(side);
    const handlePieceAcked = side.handlePieceAcked.bind(side);
    const handlePiece = side.handlePiece.bind(side);
    const handlePieces = side.handlePieces?.bind(side);
    side.takePiece = (piece: ObjectPiece, lengthBytes, target, at) => {
      const { object, offset, lender = new Uint8Array(0), lentFrom = 0 } = piece;
      takePiece(piece, lengthBytes, target, at);
      const bytes =
        target?.subarray(at, at + lengthBytes) ?? lender.subarray(lentFrom, lentFrom + lengthBytes);
      session.object(object).store(offset, bytes);
    };
    side.handlePieceAcked = (object, offset, lengthBytes) => {
      const end = offset + lengthBytes;
      if (!session.object(object).arrived.hasRange(offset, end))
        throw new CheckFailed(
          `bytes ${offset} to ${end} of object ${object} were acknowledged, but never arrived`,
        );
      handlePieceAcked(object, offset, lengthBytes);
    };
    const note = (object: number, offset: number, bytes: Uint8Array, from: number, lengthBytes: number) => {
      const watched = session.object(object);
      const end = offset + lengthBytes;
      if (!watched.equals(offset, bytes, from, lengthBytes))
        throw new CheckFailed(`bytes ${offset} to ${end} of object ${object} arrived, but were not sent`);
      watched.arrived.add(offset, end);
    };
    side.handlePiece = (object, offset, bytes, from, lengthBytes, nowUs) => {
      note(object, offset, bytes, from, lengthBytes);
      return handlePiece(object, offset, bytes, from, lengthBytes, nowUs);
    };
    if (handlePieces === undefined) return;
    side.handlePieces = (run, nowUs) => {
      for (let i = 0, at = run.offset; i < run.count; at += run.lengths[i++])
        note(run.object, at, run.bytes, run.starts[i], run.lengths[i]);
      return handlePieces(run, nowUs);
    };
  }

  /** Looks at what one side of the session called `name` reports. */
  handleEvents(name: string, events: readonly GodwitEvent[]): void {
    for (const event of events) {
      if (event.type !== "chunk-verified") continue;
      const { path, offset, lengthBytes } = event;
      const content = this.contents.get(path);
      const isTrue =
        content !== undefined &&
        [...this.session(name).objects.values()].some(
          (object) =>
            object.arrived.hasRange(offset, offset + lengthBytes) &&
            object.equals(offset, content, offset, lengthBytes),
        );
      if (!isTrue)
        throw new CheckFailed(
          `bytes ${offset} to ${offset + lengthBytes} of ${path} count as verified, but are not there`,
        );
    }
  }

  private session(name: string): WatchedSession {
    let session = this.sessions.get(name);
    if (session === undefined) this.sessions.set(name, (session = new WatchedSession()));
    return session;
  }
}
