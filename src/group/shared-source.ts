/**
 * What a group sends: opened, scanned and read once, however many receivers there are. Each lane gets
 * a feed of its own over the same entries, and all lanes take their chunks from one supply.
 *
 * The scan is remembered while the group lives, about half a kilobyte an entry, so that receivers that
 * begin late, or begin again, are offered the same entries without another look at the disk.
 */
import type { ErrorCode } from "../base/errors.ts";
import { GodwitError } from "../base/errors.ts";
import type { DiskRequest, DiskResult, RootHandle } from "../files/disk.ts";
import { ask } from "../files/disk.ts";
import { errnoText, sourceErrorCode } from "../files/disk-errors.ts";
import { DiskRunner } from "../files/disk-runner.ts";
import type { Hash } from "../files/hash-tree.ts";
import { printable } from "../files/printable.ts";
import type { ScanStart } from "../files/scan.ts";
import { ChunkSupply } from "../transfer/chunk-supply.ts";
import type { PushSource } from "../transfer/client-session.ts";
import type { PathRule } from "../transfer/path-rules.ts";
import type { OfferFeed, OfferStep, OfferTotals, SharedOffers } from "../transfer/offers.ts";
import { ScannedOffers } from "../transfer/offers.ts";
import { compileRules } from "../transfer/path-rules.ts";

/** Memory for chunks that the lanes share: what equal receivers drift apart stays within it. */
export const GROUP_SUPPLY_BYTES: number = 64 * 1024 * 1024;

/** Least memory of one lane: four chunks, so that reading ahead leaves room for what was lost. */
export const LANE_SUPPLY_BYTES: number = 1024 * 1024;

/** What to share, and among how many. */
export interface SharedSourceSetup {
  readonly hash: Hash;
  readonly sources: readonly PushSource[];
  readonly sendsLinks: boolean;
  readonly rules: readonly PathRule[];
  /** Most lanes at once. */
  readonly laneCount: number;
  /** Memory for chunks; 64 MiB, or 1 MiB a lane if that is more, unless given. */
  readonly supplyBytes?: number;
}

/** The entries and contents that all lanes of a group send. */
export class SharedSource implements SharedOffers {
  readonly supply: ChunkSupply;
  private readonly setup: SharedSourceSetup;
  private readonly runner = new DiskRunner();
  private readonly roots: RootHandle[] = [];
  private readonly feeds = new Set<Feed>();
  /** The scan so far. */
  private readonly steps: OfferStep[] = [];
  private scan: ScannedOffers | undefined;
  private hasEnded = false;
  private isClosed = false;
  /** Why the sources cannot be sent at all, once that is known. */
  failure:
    | {
        readonly code: ErrorCode;
        readonly text: string;
        /** What receivers are told: without places of this machine. */
        readonly peerText: string;
      }
    | undefined;

  constructor(setup: SharedSourceSetup) {
    this.setup = setup;
    const { hash, laneCount } = setup;
    const budget = setup.supplyBytes ?? Math.max(GROUP_SUPPLY_BYTES, laneCount * LANE_SUPPLY_BYTES);
    this.supply = new ChunkSupply(this.runner, hash, budget, Math.max(laneCount, 2));
    this.openSources([]);
  }

  openFeed(onReady: () => void): OfferFeed {
    const feed = new Feed(this, onReady);
    this.feeds.add(feed);
    return feed;
  }

  /** Hands out disk operations; each result comes back once through `handleDiskResult`. */
  takeDiskRequests(): DiskRequest[] {
    return this.runner.takeRequests();
  }

  /** Whether disk operations wait to be taken. */
  get hasDiskRequests(): boolean {
    return this.runner.hasRequests;
  }

  /** Takes the result of a disk operation. Lanes that waited for it have something to send now. */
  handleDiskResult(id: number, result: DiskResult): void {
    this.runner.handleResult(id, result);
  }

  /** Closes what is open. No lane may use the source any more; `isIdle` tells when the disk is done. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.scan?.close();
    for (const root of this.roots) this.runner.start(ask({ kind: "close-root", root }), () => undefined);
  }

  /** Whether no disk operation is under way. */
  get isIdle(): boolean {
    return this.runner.runningCount === 0;
  }

  /** @internal Step `index` of the scan for a feed. */
  step(index: number): OfferStep {
    while (this.steps.length <= index && !this.hasEnded) {
      const step = this.scan?.next() ?? { type: "wait" as const };
      if (step.type === "wait") return step;
      if (step.type === "end") this.hasEnded = true;
      else this.steps.push(step);
    }
    return this.steps[index] ?? { type: "end" };
  }

  /** @internal What the scan will come to, once that is known. */
  get totals(): OfferTotals | undefined {
    return this.scan?.totals;
  }

  /** @internal */
  closeFeed(feed: Feed): void {
    this.feeds.delete(feed);
  }

  /** Opens the places of the sources one after the other; the same place once. */
  private openSources(starts: readonly ScanStart[]): void {
    const { sources, hash, sendsLinks, rules } = this.setup;
    const source = sources[starts.length];
    if (source === undefined) {
      const options = { sendsLinks, filter: compileRules(rules) };
      this.scan = new ScannedOffers(this.runner, hash, this.supply, starts, options, () => this.wakeFeeds());
      this.wakeFeeds();
      return;
    }
    const { location, path, name } = source;
    const opened = starts[sources.findIndex((other) => other.location === location)];
    if (opened !== undefined) {
      this.openSources([...starts, { root: opened.root, path, name }]);
      return;
    }
    this.runner.start(ask({ kind: "open-root", location, create: false }), (result) => {
      if (!result.ok) {
        const why = errnoText(result.errno);
        this.failure = {
          code: sourceErrorCode(result.errno),
          text: `cannot open ${printable(location)}: ${why}`,
          peerText: `the sender cannot open ${printable(name.join("/"))}: ${why}`,
        };
        return;
      }
      this.roots.push(result.root);
      try {
        this.openSources([...starts, { root: result.root, path, name }]);
      } catch (error) {
        // A rule that does not parse.
        if (!(error instanceof GodwitError)) throw error;
        this.failure = { code: error.code, text: error.message, peerText: error.message };
      }
    });
  }

  private wakeFeeds(): void {
    for (const { onReady } of this.feeds) onReady();
  }
}

/** One lane's place in the scan. */
class Feed implements OfferFeed {
  readonly onReady: () => void;
  private readonly source: SharedSource;
  private nextIndex = 0;

  constructor(source: SharedSource, onReady: () => void) {
    this.source = source;
    this.onReady = onReady;
  }

  next(): OfferStep {
    const step = this.source.step(this.nextIndex);
    if (step.type === "offer" || step.type === "skipped") this.nextIndex++;
    return step;
  }

  get totals(): OfferTotals | undefined {
    return this.source.totals;
  }

  close(): void {
    this.source.closeFeed(this);
  }
}
