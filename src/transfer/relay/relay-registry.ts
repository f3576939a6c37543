/**
 * The transfers in which one process serves other receivers: lets in whom their senders announced,
 * dials whom they named, reads for them. The host carries it beside its connections.
 */
import { RELAY_SERVE_BYTES, RELAY_TRANSFERS } from "../../base/limits.ts";
import { SeededRandom } from "../../base/random.ts";
import type { EventQueue } from "../../events/queue.ts";
import { ChunkPool } from "../../files/chunk-pool.ts";
import type { DiskRequest, DiskResult } from "../../files/disk.ts";
import { DiskRunner } from "../../files/disk-runner.ts";
import type { MessageQueue } from "../control-stream.ts";
import type { LinkCarrier, RelayLink } from "./relay-link.ts";
import type { RelayDial } from "./relay-node.ts";
import { RelayNode } from "./relay-node.ts";

/** All transfers of one process. */
export class RelayRegistry {
  private readonly runner = new DiskRunner();
  private readonly pool = new ChunkPool(RELAY_SERVE_BYTES);
  private readonly random: SeededRandom;
  private readonly nodes = new Set<RelayNode>();
  private readonly onWork: () => void;

  /**
   * @param seed - For the order in which chunks are asked for; not for secrets.
   * @param onWork - Called when a turn is wanted soon.
   */
  constructor(seed: number, onWork: () => void) {
    this.random = new SeededRandom(seed, "relay");
    this.onWork = onWork;
  }

  /** A transfer whose receivers exchange chunks; `undefined` when there are too many of them. */
  open(location: string, messages: MessageQueue, events: EventQueue, nowUs: number): RelayNode | undefined {
    if (this.nodes.size >= RELAY_TRANSFERS) return undefined;
    const { runner, pool, random, onWork } = this;
    const node = new RelayNode({ runner, pool, random, location, messages, events, wake: onWork }, nowUs);
    this.nodes.add(node);
    return node;
  }

  /** Whether a sender announced a receiver with this key: it may connect, for chunks of that transfer only. */
  isExpected(key: Uint8Array): boolean {
    for (const node of this.nodes) if (node.isExpected(key)) return true;
    return false;
  }

  /** A receiver shows its token: its link, or `undefined` if nobody announced it. */
  join(key: Uint8Array, token: Uint8Array, carrier: LinkCarrier, nowUs: number): RelayLink | undefined {
    for (const node of this.nodes) {
      const link = node.join(key, token, carrier, nowUs);
      if (link !== undefined) return link;
    }
    return undefined;
  }

  /** Receivers to dial, each once: run a `RelaySession` on the connection, or call `handleUnreached` of the node. */
  takeDials(): RelayDial[] {
    const dials: RelayDial[] = [];
    for (const node of this.nodes) dials.push(...node.takeDials());
    return dials;
  }

  /** Whether no transfer has anything to do any more. */
  get isIdle(): boolean {
    return this.nodes.size === 0;
  }

  /** Ends all transfers' exchange. */
  stop(): void {
    for (const node of this.nodes) node.stop();
  }

  /** Does what there is to do. Called in each turn. */
  handleTurn(nowUs: number): void {
    for (const node of this.nodes) {
      node.handleTurn(nowUs);
      if (node.isOver) this.nodes.delete(node);
    }
  }

  /** When `handleTurn` wants to be called although nothing happened. */
  nextTimeoutUs(): number | undefined {
    let soonest = Number.POSITIVE_INFINITY;
    for (const node of this.nodes) soonest = Math.min(soonest, node.nextTimeoutUs() ?? soonest);
    return soonest === Number.POSITIVE_INFINITY ? undefined : soonest;
  }

  /** Hands out disk operations; each result comes back once through `handleDiskResult`. */
  takeDiskRequests(): DiskRequest[] {
    return this.runner.takeRequests();
  }

  /** Whether disk operations wait to be taken. */
  get hasDiskRequests(): boolean {
    return this.runner.hasRequests;
  }

  /** Takes the result of a disk operation. */
  handleDiskResult(id: number, result: DiskResult): void {
    this.runner.handleResult(id, result);
  }
}
