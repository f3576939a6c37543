/**
 * Connection ids of both sides: those we gave out, by which packets find us, and those the peer gave
 * us. Source: RFC 9000 §5.1, §19.15, §19.16.
 */
import { GodwitError } from "../base/errors.ts";
import { CONNECTION_IDS_KEPT } from "../base/limits.ts";
import { CONNECTION_ID_BYTES, sameConnectionId } from "../wire/connection-id.ts";

/** Where ids are made and packets are routed by them: the endpoint. */
export interface ConnectionIdRouter {
  /** A new id that routes to this connection from now on. */
  issueConnectionId(): Uint8Array;
  /** Packets with this id belong to nobody from now on. */
  releaseConnectionId(id: Uint8Array): void;
}

/** Ids a peer holds of us at once: one in use, and spares for moves in quick succession. */
const CONNECTION_IDS_ISSUED = 4;

interface NumberedId {
  readonly sequence: number;
  readonly id: Uint8Array;
}

/** Ids that the peer may put into its packets. */
export class LocalConnectionIds {
  private readonly router: ConnectionIdRouter;
  private active: NumberedId[];
  private nextSequence = 1;

  /** @param first - The id of the handshake, already routed; it has sequence 0. */
  constructor(router: ConnectionIdRouter, first: Uint8Array) {
    this.router = router;
    this.active = [{ sequence: 0, id: first }];
  }

  /** Issues ids until the peer holds `limit` of them (at most what we keep); returns the new sequences. */
  replenish(limit: number): number[] {
    const issued: number[] = [];
    while (this.active.length < Math.min(limit, CONNECTION_IDS_ISSUED)) {
      this.active.push({ sequence: this.nextSequence, id: this.router.issueConnectionId() });
      issued.push(this.nextSequence++);
    }
    return issued;
  }

  /** The id with a sequence, or `undefined` once it was retired. */
  bySequence(sequence: number): Uint8Array | undefined {
    return this.active.find((entry) => entry.sequence === sequence)?.id;
  }

  /** Takes RETIRE_CONNECTION_ID. @throws GodwitError PROTOCOL_VIOLATION for a sequence never issued. */
  handleRetire(sequence: number): void {
    if (sequence >= this.nextSequence)
      throw new GodwitError("PROTOCOL_VIOLATION", "the peer retired a connection id it was never given");
    const index = this.active.findIndex((entry) => entry.sequence === sequence);
    if (index < 0) return;
    this.router.releaseConnectionId(this.active[index].id);
    this.active.splice(index, 1);
  }

  /** Releases all ids: the connection is over. */
  releaseAll(): void {
    for (const { id } of this.active) this.router.releaseConnectionId(id);
    this.active = [];
  }
}

/** Ids that we put into our packets. */
export class RemoteConnectionIds {
  private active: NumberedId[];
  private retirePriorTo = 0;
  private readonly limit: number;
  private readonly retiring: number[] = [];

  /** @param first - The peer's id from the handshake; it has sequence 0. @param limit - Ids we keep. */
  constructor(first: Uint8Array, limit: number = CONNECTION_IDS_KEPT) {
    this.active = [{ sequence: 0, id: first.slice() }];
    this.limit = limit;
  }

  /** The id to put into packets. */
  get current(): Uint8Array {
    return this.active[0].id;
  }

  /** Whether another id can be taken. */
  get hasSpare(): boolean {
    return this.active.length > 1;
  }

  /** Sequences to report in RETIRE_CONNECTION_ID frames; each is handed out once. */
  takeRetired(): number[] {
    return this.retiring.splice(0);
  }

  /** Takes NEW_CONNECTION_ID. @throws GodwitError PROTOCOL_VIOLATION for more ids than we keep, or changed ones. */
  handleNew(sequence: number, retirePriorTo: number, bytes: Uint8Array, at: number): void {
    const known = this.active.find((entry) => entry.sequence === sequence);
    if (known !== undefined) {
      if (!sameConnectionId(known.id, 0, bytes, at))
        throw new GodwitError("PROTOCOL_VIOLATION", "the peer gave two connection ids one number");
      return;
    }
    if (retirePriorTo > this.retirePriorTo) this.retirePriorTo = retirePriorTo;
    // Retired already, or overtaken by its own retirement: to be retired twice does no harm.
    if (sequence < this.retirePriorTo || sequence < this.active[0].sequence) {
      this.retiring.push(sequence);
      return;
    }
    this.active.push({ sequence, id: bytes.slice(at, at + CONNECTION_ID_BYTES) });
    this.active.sort((a, b) => a.sequence - b.sequence);
    while (this.active.length > 1 && this.active[0].sequence < this.retirePriorTo) this.next();
    if (this.active.length > this.limit)
      throw new GodwitError("PROTOCOL_VIOLATION", "the peer gave more connection ids than allowed");
  }

  /** Retires the present id and takes the next one. Does nothing when there is no spare. */
  next(): void {
    if (this.active.length < 2) return;
    this.retiring.push(this.active[0].sequence);
    this.active.shift();
  }
}
