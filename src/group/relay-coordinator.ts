/**
 * The sender's part in peer re-serve: introduces receivers to each other, deals chunks out to their
 * lanes, and keeps count of what they exchanged. docs/design/relay.md
 */
import { RELAY_PEERS } from "../base/limits.ts";
import { GodwitError } from "../base/errors.ts";
import type { EventQueue } from "../events/queue.ts";
import { ChunkDealer } from "../transfer/chunk-dealer.ts";
import type { MessageQueue } from "../transfer/control-stream.ts";
import type { LaneRelay } from "../transfer/relay/lane-relay.ts";
import type { DropReason, RelayMessage } from "../transfer/relay/relay-messages.ts";
import { RELAY_TOKEN_BYTES } from "../transfer/relay/relay-messages.ts";
import { isIpv4Address } from "../wire/address.ts";

/** What the coordinator knows of a receiver whose lane is open. */
export interface RelayParty {
  readonly receiver: number;
  readonly key: Uint8Array;
  readonly fingerprint: string;
  /** Where the sender reaches it: six words. */
  readonly address: Int32Array;
}

/** One receiver's lane. */
class Lane implements LaneRelay {
  readonly dealer: ChunkDealer;
  readonly party: RelayParty;
  readonly partners = new Set<number>();
  messages: MessageQueue | undefined;
  isReady = false;
  isOver = false;
  relayedBytes = 0;
  helpers = 0;
  private readonly coordinator: RelayCoordinator;

  constructor(coordinator: RelayCoordinator, party: RelayParty) {
    this.coordinator = coordinator;
    this.dealer = coordinator.dealer;
    this.party = party;
  }

  attach(messages: MessageQueue): void {
    this.messages = messages;
  }

  handleMessage(message: RelayMessage, events: EventQueue): void {
    switch (message.type) {
      case "relay-ready":
        if (this.isReady) throw violation("it said twice that it takes part");
        this.isReady = true;
        this.coordinator.introduce(this);
        return;
      case "relay-expecting":
        this.coordinator.handleExpecting(this, message.partner);
        return;
      case "relay-report":
        this.relayedBytes = message.relayedBytes;
        this.helpers = message.helpers;
        events.add({ type: "relay-progress", relayedBytes: this.relayedBytes, helpers: this.helpers });
        return;
      case "relay-dropped":
        this.coordinator.handleDropped(this, message.partner, message.reason, events);
        return;
      default:
        throw violation(`a ${message.type} message to a sender`);
    }
  }

  end(): void {
    this.isOver = true;
  }
}

/** All receivers of a group that take part. */
export class RelayCoordinator {
  readonly dealer = new ChunkDealer();
  private readonly lanes = new Map<number, Lane>();
  private readonly randomBytes: (target: Uint8Array) => Uint8Array;
  /** Introductions that wait for the one who is to be dialled, by both numbers. */
  private readonly pending = new Map<string, { readonly dialler: Lane; readonly token: Uint8Array }>();
  private hasNews = false;
  /** Bytes from helpers in lanes that were replaced by new attempts. */
  private earlierBytes = 0;

  /** Receivers a new one is made to dial. */
  private readonly dials: number;

  /**
   * @param receiverCount - Receivers of the group.
   * @param randomBytes - Fills a buffer with unguessable bytes and returns it.
   */
  constructor(receiverCount: number, randomBytes: (target: Uint8Array) => Uint8Array) {
    this.randomBytes = randomBytes;
    // A few know each other all. Of many, each dials half of its share, so that there is room for those who come later.
    this.dials = receiverCount <= RELAY_PEERS + 1 ? RELAY_PEERS : RELAY_PEERS / 2;
  }

  /** Bytes that receivers got from each other, as they say. */
  get relayedBytes(): number {
    let bytes = this.earlierBytes;
    for (const lane of this.lanes.values()) bytes += lane.relayedBytes;
    return bytes;
  }

  /** Bytes that one receiver got from others in its last attempt, as it says. */
  relayedBytesOf(receiver: number): number {
    return this.lanes.get(receiver)?.relayedBytes ?? 0;
  }

  /** A receiver has a lane. */
  openLane(party: RelayParty): LaneRelay {
    this.earlierBytes += this.relayedBytesOf(party.receiver);
    const lane = new Lane(this, party);
    this.lanes.set(party.receiver, lane);
    return lane;
  }

  /** Whether lanes have something to say since the last call: their connections want a turn. */
  takeNews(): boolean {
    const { hasNews } = this;
    this.hasNews = false;
    return hasNews;
  }

  /** @internal A receiver is ready: it is told to dial some that are. */
  introduce(lane: Lane): void {
    const others = [...this.lanes.values()].filter(
      (other) =>
        other !== lane &&
        other.isReady &&
        !other.isOver &&
        other.partners.size < RELAY_PEERS &&
        mayReach(lane.party.address, other.party.address),
    );
    others.sort((a, b) => a.partners.size - b.partners.size || a.party.receiver - b.party.receiver);
    for (const other of others.slice(0, this.dials)) {
      const token = this.randomBytes(new Uint8Array(RELAY_TOKEN_BYTES));
      const { receiver: partner, key } = lane.party;
      lane.partners.add(other.party.receiver);
      other.partners.add(partner);
      this.pending.set(`${other.party.receiver}/${partner}`, { dialler: lane, token });
      other.messages?.add({ type: "relay-expect", partner, key, token });
      this.hasNews = true;
    }
  }

  /** @internal Who is to be dialled knows of it. */
  handleExpecting(lane: Lane, partner: number): void {
    const name = `${lane.party.receiver}/${partner}`;
    const introduction = this.pending.get(name);
    if (introduction === undefined) throw violation("it expects somebody who was not announced");
    this.pending.delete(name);
    const { dialler, token } = introduction;
    if (dialler.isOver) return;
    const { receiver, key, address } = lane.party;
    dialler.messages?.add({ type: "relay-dial", partner: receiver, key, token, address });
    this.hasNews = true;
  }

  /** @internal A receiver asks another one no more. */
  handleDropped(lane: Lane, partner: number, reason: DropReason, events: EventQueue): void {
    const other = this.lanes.get(partner);
    // One word about each: a receiver cannot fill anybody's screen.
    if (other === undefined || !lane.partners.delete(partner)) return;
    other.partners.delete(lane.party.receiver);
    events.add({ type: "relay-helper-dropped", helper: other.party.fingerprint, reason });
  }
}

/** An address of this machine only means another machine to somebody else. */
function mayReach(a: Int32Array, b: Int32Array): boolean {
  return isLoopback(a) === isLoopback(b) && isIpv4Address(a) === isIpv4Address(b) && b[5] === 0;
}

function isLoopback(words: Int32Array): boolean {
  if (isIpv4Address(words)) return words[3] >>> 24 === 127;
  return words[0] === 0 && words[1] === 0 && words[2] === 0 && words[3] === 1;
}

function violation(what: string): GodwitError {
  return new GodwitError("PROTOCOL_VIOLATION", `the receiver broke the protocol: ${what}`);
}
